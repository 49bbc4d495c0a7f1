"""A run folder says what is wrong with it in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "training"))
from toy_regression import ToyConfig, ToyTask, make_network

from omniform.errors import PluginError, RunError
from omniform.run import Run, RunSpec, Source
from omniform.serial import to_json
from omniform.task import Budget, Size
from omniform.training.checkpoint import save_tensors
from omniform.training.config import Training

SIZE = Size(dim=8, hidden=16, depth=1)
SPEC = RunSpec(
    domain="toys",
    task="regress",
    mixer="attention",
    params=300,
    seed=3,
    init=None,
    size=SIZE,
    budget=Budget(seconds=1.5),
    training=Training(batch_size=8),
    config=to_json(ToyConfig(mean=0.25)),
)
DATA = Source(source="sample", fingerprint="abc")
PLUGIN = """
from omniform.hookspecs import hookimpl
from omniform.specs import Domain, Ref, TaskEntry


@hookimpl
def omniform_domains():
    entry = TaskEntry(name="regress", summary="Regress.", task=Ref("toy_regression:ToyTask"))
    return [Domain(name="toys", title="Toys", summary="Toys.", tasks=(entry,))]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    run = Run.create(tmp_path / "run", SPEC, DATA)
    run.save_model(make_network().build(SIZE))
    run.save_metrics({"metrics": {"mse": 1.0}, "floor": {"mse": 2.0}})
    return run.path


def test_opens_as_it_was_created(path: Path) -> None:
    run = Run.open(path)
    assert run.spec == SPEC
    assert run.data == DATA
    assert run.task_config(ToyTask()) == ToyConfig(mean=0.25)
    assert run.metrics["floor"] == {"mse": 2.0}
    assert {"python", "torch", "numpy", "omniform", "platform"} <= set(json.loads((path / "versions.json").read_text()))


def test_weights_come_back(path: Path) -> None:
    network, run = make_network(), Run.open(path)
    model = network.build(SIZE)
    run.save_model(model)
    loaded = run.load_model(network)
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_refuses_a_folder_with_something_in_it(tmp_path: Path, path: Path) -> None:
    for taken in (path, path / "config.json"):
        with pytest.raises(RunError, match="--resume"):
            Run.create(taken, SPEC, DATA)
    (tmp_path / "empty").mkdir()
    Run.create(tmp_path / "empty", SPEC, DATA)


def test_resume_takes_the_same_options_only(tmp_path: Path, path: Path) -> None:
    assert Run.resume(path, SPEC, DATA).spec == SPEC
    with pytest.raises(RunError, match="has seed 3, got 4"):
        Run.resume(path, replace(SPEC, seed=4), DATA)
    with pytest.raises(RunError, match="has batch_size 8, got 16"):
        Run.resume(path, replace(SPEC, training=Training(batch_size=16)), DATA)
    with pytest.raises(RunError, match="has mean"):
        Run.resume(path, replace(SPEC, config=to_json(ToyConfig())), DATA)
    with pytest.raises(RunError, match="data differs"):
        Run.resume(path, SPEC, replace(DATA, fingerprint="other"))
    with pytest.raises(RunError, match="there is none"):
        Run.resume(tmp_path / "nowhere", SPEC, DATA)


def edit(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        value = json.loads((path / name).read_text())
        change(value)
        (path / name).write_text(json.dumps(value))

    return apply


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no config": ("config.json", lambda path: (path / "config.json").unlink()),
    "no data": ("data.json", lambda path: (path / "data.json").unlink()),
    "no weights": ("model.safetensors", lambda path: (path / "model.safetensors").unlink()),
    "renamed weights": ("model.safetensors", lambda path: (path / "model.safetensors").rename(path / "m.safetensors")),
    "no metrics": ("metrics.json", lambda path: (path / "metrics.json").unlink()),
    "truncated config": ("config.json", lambda path: (path / "config.json").write_text('{"format": 1,')),
    "truncated weights": (
        "model.safetensors",
        lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-7]),
    ),
    "empty weights": ("model.safetensors", lambda path: (path / "model.safetensors").write_bytes(b"")),
    "pickled weights": (
        "model.safetensors",
        lambda path: torch.save(make_network().build(SIZE).state_dict(), path / "model.safetensors"),
    ),
    "other format": ("config.json", edit("config.json", lambda value: value.update(format=99))),
    "unknown field": ("config.json: unknown field 'more'", edit("config.json", lambda value: value.update(more=1))),
    "missing field": ("'mixer' is missing", edit("config.json", lambda value: value.pop("mixer"))),
    "wrong type": ("size: dim: expected int", edit("config.json", lambda value: value["size"].update(dim="8"))),
    "wrong shape": ("of shape", edit("config.json", lambda value: value["size"].update(dim=16))),
    "huge shape": ("of shape", edit("config.json", lambda value: value["size"].update(dim=10**9))),
    "impossible shape": ("cannot be built", edit("config.json", lambda value: value["size"].update(dim=-4))),
    "wrong option": (
        "config: dropout: expected float",
        edit("config.json", lambda value: value["config"].update(dropout="lots")),
    ),
    "refused value": (
        "training: expected warmup",
        edit("config.json", lambda value: value["training"].update(warmup=9)),
    ),
    "no options": ("config: expected", edit("config.json", lambda value: value.update(config=3))),
    "other weights": (
        "unknown 'extra'",
        lambda path: save_tensors(
            path / "model.safetensors", make_network().build(SIZE).state_dict() | {"extra": torch.ones(1)}
        ),
    ),
    "half weights": (
        "torch.float16",
        lambda path: save_tensors(path / "model.safetensors", make_network().build(SIZE).half().state_dict()),
    ),
    "broken metrics": ("metrics.json", lambda path: (path / "metrics.json").write_text('{"metrics": 3}')),
    "list of data": ("data.json", lambda path: (path / "data.json").write_text("[]")),
}


def read_everything(path: Path) -> None:
    run = Run.open(path)
    run.task_config(ToyTask())
    run.load_model(make_network())
    assert run.metrics


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_line_that_names_the_place(path: Path, name: str) -> None:
    place, damage = DAMAGE[name]
    damage(path)
    with pytest.raises(RunError) as caught:
        read_everything(path)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_task_is_found_by_its_name(path: Path, install: Callable[..., Any]) -> None:
    install(toys_plugin=PLUGIN)
    assert isinstance(Run.open(path).task(), ToyTask)
    edit("config.json", lambda value: value.update(task="other"))(path)
    with pytest.raises(RunError, match="only regress"):
        Run.open(path).task()
    edit("config.json", lambda value: value.update(domain="absent"))(path)
    with pytest.raises(PluginError, match="absent"):
        Run.open(path).task()


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", SPEC, DATA)
    run.discard()
    assert not run.path.exists()
