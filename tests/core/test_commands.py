"""Train, evaluate and predict, from data to files, through a domain of the test's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "training"))
from toy_regression import ToyConfig, ToyTask, make_table

from omniform.commands import TrainReport, evaluate, one_run_verdict, predict, train
from omniform.errors import ConfigError, DataError, OmniformError, RunError
from omniform.run import Run
from omniform.task import Budget, Metric
from omniform.training.checkpoint import load_tensors
from omniform.training.config import Training

PLUGIN = """
from omniform.hookspecs import hookimpl
from omniform.specs import Domain, Ref, TaskEntry


@hookimpl
def omniform_domains():
    entry = TaskEntry(name="regress", summary="Regress.", task=Ref("toy_regression:ToyTask"))
    return [Domain(name="toys", title="Toys", summary="Toys.", tasks=(entry,))]
"""
TRAINING = Training(batch_size=8, learning_rate=0.02, precision="32", device="cpu")


@pytest.fixture(autouse=True)
def toys(install: Callable[..., Any]) -> None:
    install(toys_plugin=PLUGIN)


def run(out: Path, **changes: Any) -> TrainReport:
    options: dict[str, Any] = {
        "source": "sample",
        "config": ToyConfig(),
        "domain": "toys",
        "mixer": "attention",
        "budget": Budget(steps=60),
        "training": TRAINING,
        "params": 400,
        "depth": 1,
        "seed": 0,
        "progress": False,
    }
    return train(ToyTask(), out=out, **(options | changes))


@pytest.fixture
def trained(tmp_path: Path) -> TrainReport:
    return run(tmp_path / "run")


def test_training_fills_the_run_folder(tmp_path: Path, trained: TrainReport) -> None:
    folder = tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "data.json", "versions.json", "model.safetensors", "metrics.json", "report.html"}
    assert list((folder / "figures").glob("*.png"))
    assert not [path for path in folder.rglob("*") if path.suffix in (".ckpt", ".pt", ".pkl")]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["metrics"] == trained.metrics
    assert metrics["floor"] == trained.floor
    assert metrics["steps"] == 60
    assert set(trained.as_json()) == {"task", "mixer", "params", "seconds", "metrics", "floor", "run"}
    assert list(trained.metrics) == list(trained.floor) == ["mse", "mae"]
    assert trained.metrics["mse"] < trained.floor["mse"]
    assert trained.verdict.startswith("attention beats the mean floor: mse")
    assert json.loads(json.dumps(trained.as_json()))["run"] == str(folder)


def test_params_are_those_of_the_saved_weights(tmp_path: Path, trained: TrainReport) -> None:
    weights = load_tensors(tmp_path / "run" / "model.safetensors")
    assert trained.params == sum(value.numel() for value in weights.values())
    assert trained.params == pytest.approx(400, rel=0.03)


def test_inferred_options_are_written_down(tmp_path: Path, trained: TrainReport) -> None:
    config = Run.open(tmp_path / "run").task_config(ToyTask())
    assert config.mean == pytest.approx(float(make_table(90, 0).targets.mean()))


def test_evaluating_gives_the_scores_of_training(
    tmp_path: Path, trained: TrainReport, caplog: pytest.LogCaptureFixture
) -> None:
    report = evaluate(tmp_path / "run", "sample")
    assert report.as_json() | {"seconds": 0} == trained.as_json() | {"seconds": 0}
    assert report.same_data
    assert caplog.text == ""


def write_table(path: Path, size: int, seed: int) -> Path:
    table = make_table(size, seed)
    path.write_text(json.dumps(np.hstack([table.inputs, table.targets]).tolist()))
    return path


def test_other_data_is_said_and_scored(tmp_path: Path, trained: TrainReport, caplog: pytest.LogCaptureFixture) -> None:
    report = evaluate(tmp_path / "run", write_table(tmp_path / "other.json", 50, 9))
    assert not report.same_data
    assert "is not the data that" in caplog.text
    assert report.metrics["mse"] != trained.metrics["mse"]


@pytest.mark.parametrize("size", [1, 8, 21])
def test_predicts_every_item_in_order(tmp_path: Path, trained: TrainReport, size: int) -> None:
    source = write_table(tmp_path / "new.json", size, 5)
    report = predict(tmp_path / "run", [str(source)], tmp_path / "out.json")
    values = json.loads((tmp_path / "out.json").read_text())
    opened = Run.open(tmp_path / "run")
    network = ToyTask().network(None, opened.task_config(ToyTask()), "attention")  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        expected = opened.load_model(network)(torch.from_numpy(ToyTask().read(source, ToyConfig()).inputs))
    assert values == pytest.approx(expected[:, 0].tolist(), rel=1e-4, abs=1e-5)
    assert report.as_json()["outputs"] == [str(tmp_path / "out.json")]


def test_several_inputs_become_files_of_a_folder(tmp_path: Path, trained: TrainReport) -> None:
    sources = [str(write_table(tmp_path / f"{name}.json", 4, 5)) for name in "ab"]
    predict(tmp_path / "run", sources, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "b.json"]
    with pytest.raises(ConfigError, match="different file names"):
        predict(tmp_path / "run", [sources[0], sources[0]], tmp_path / "again")
    with pytest.raises(ConfigError, match="to name a file"):
        predict(tmp_path / "run", sources[:1], tmp_path / "out")
    with pytest.raises(DataError):
        predict(tmp_path / "run", ["absent.json"], tmp_path / "never.json")
    assert not (tmp_path / "never.json").exists()


def test_mistakes_leave_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for wrong in (
        {"source": "absent.json"},
        {"params": 7},
        {"init": tmp_path / "no-run"},
        {"training": replace(TRAINING, learning_rate=1e30)},
        {"seed": -1},
    ):
        with pytest.raises(OmniformError):
            run(out, **wrong)
        assert not out.exists(), wrong


def test_a_full_folder_is_refused_and_resume_needs_one(tmp_path: Path, trained: TrainReport) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="--resume"):
        run(tmp_path / "run")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="there is none"):
        run(tmp_path / "nowhere", resume=True)


def test_resuming_a_finished_run_reports_it_again(tmp_path: Path, trained: TrainReport) -> None:
    assert run(tmp_path / "run", resume=True) == trained


def test_starts_from_the_weights_of_another_run(tmp_path: Path, trained: TrainReport) -> None:
    barely = replace(TRAINING, learning_rate=1e-12, weight_decay=0.0)
    second = run(tmp_path / "second", init=tmp_path / "run", training=barely, budget=Budget(steps=1))
    assert second.metrics["mse"] == pytest.approx(trained.metrics["mse"], rel=1e-3)
    with pytest.raises(RunError, match="--init takes a run of the same network"):
        run(tmp_path / "third", init=tmp_path / "run", params=900)
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [(0.13251, 0.13254, "is level with"), (0.1324, 0.1326, "beats"), (0.1327, 0.1326, "loses to")],
)
def test_scores_that_look_alike_are_called_level(ours, theirs, word):
    told = one_run_verdict(Metric(name="mae"), "gla", {"mae": ours}, "ridge", {"mae": theirs})
    assert told.startswith(f"gla {word} the ridge floor: mae ")
