"""A folder holds what was trained, and the model comes back from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from toy_project import make_history, make_language

from omniform.adaptation.settings import Adaptation, Method
from omniform.errors import ConfigError, IncompatibleError, OmniformError, RunError
from omniform.mixers import GatedLinearAttention
from omniform.task import Budget
from omniform.training.config import Training
from omniform_codegen.language import LanguageModel
from omniform_codegen.personalization import Personalization, load_personalized, personalize, save_personalization

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))


def tune(language: LanguageModel, method: Method) -> Personalization:
    return personalize(
        language,
        make_history(),
        settings=Adaptation(method=method, rank=2, prefix_length=4),
        budget=Budget(steps=3),
        training=Training(precision="32", batch_size=4, device="cpu", learning_rate=1e-2),
        gaps=0,
        progress=False,
    )


@pytest.mark.parametrize(
    ("method", "recurrent"), [*((method, False) for method in get_args(Method)), ("adapter", True), ("prefix", True)]
)
def test_the_model_comes_back(method: Method, recurrent: bool, tmp_path: Path) -> None:
    base = make_language(GatedLinearAttention) if recurrent else make_language()
    told = tune(base, method)
    save_personalization(told, tmp_path / "out", base="run", command="omniform", fingerprint="f")
    loaded = load_personalized(base, tmp_path / "out")
    assert torch.equal(loaded.model(IDS), told.language.model(IDS))
    assert not torch.equal(loaded.model(IDS), base.model(IDS))
    peft = method == "adapter" or (method == "prefix" and not recurrent)
    files = {"adapter_config.json", "adapter_model.safetensors"} if peft else {"changes.safetensors"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {"personalization.json"}


def test_the_record_says_what_came_of_it(tmp_path: Path) -> None:
    told = tune(make_language(), "bias")
    save_personalization(told, tmp_path, base="run", command="omniform codegen personalize", fingerprint="abc")
    text = (tmp_path / "personalization.json").read_text()
    record: dict[str, Any] = json.loads(text)
    assert record["verdict"] == told.verdict
    row = record["metrics"]["bits_per_byte"]
    assert row["interval"][0] <= row["difference"] <= row["interval"][1]
    assert row["after"] - row["before"] == pytest.approx(row["difference"])
    assert record["cost"]["trained"] == told.cost.trained
    assert record["cost"]["stored_bytes"] < (tmp_path / "changes.safetensors").stat().st_size
    assert (record["fingerprint"], record["seed"]) == ("abc", 0)
    assert "hash" not in text  # the authors of the commits


def test_refuses_a_folder_in_use(tmp_path: Path) -> None:
    told = tune(make_language(), "bias")
    save_personalization(told, tmp_path, base="run")
    with pytest.raises(ConfigError, match="empty folder"):
        save_personalization(told, tmp_path, base="run")


@pytest.mark.parametrize("method", ["adapter", "prefix", "bias"])
def test_refuses_another_network(method: Method, tmp_path: Path) -> None:
    save_personalization(tune(make_language(), method), tmp_path, base="run")
    with pytest.raises(OmniformError) as caught:
        load_personalized(make_language(GatedLinearAttention), tmp_path)
    assert isinstance(caught.value, IncompatibleError | RunError)


def test_refuses_what_is_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing"):
        load_personalized(make_language(), tmp_path)
    (tmp_path / "personalization.json").write_text("{}")
    with pytest.raises(RunError, match="method"):
        load_personalized(make_language(), tmp_path)
