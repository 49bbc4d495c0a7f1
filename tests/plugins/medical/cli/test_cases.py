"""`omniform medical cases`: the test cases one by one, the floor beside."""

import csv
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from omniform.errors import ConfigError, RunError
from omniform.training.config import Training
from omniform_medical.api import Segmenter
from omniform_medical.case_scores import score_cases, write_cases
from omniform_medical.cli.cases import cases
from omniform_medical.sample import load_sample

LABELS = ("grey matter", "white matter")


@pytest.fixture(scope="module")
def fitted():
    segmenter = Segmenter(
        "linear-attention", spacing=(4, 4, 4), patch=(16, 16, 16), stages=3, params=60_000, depth=1,
        training=Training(precision="32", device="cpu"),
    )  # fmt: skip
    return segmenter.fit("sample", test="0.4", budget="1", progress=False)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    fitted.save(path)
    return path


@pytest.fixture(scope="module")
def scores(saved):
    return score_cases(saved, "sample")


def test_every_test_case_has_a_row_for_each_label(scores, fitted):
    assert scores.same_data
    assert scores.floor_name == "atlas"
    tested = ("slab-6", "slab-7", "slab-8")
    assert [(row.case, row.label) for row in scores.rows] == [(case, label) for case in tested for label in LABELS]
    paths = {case.name: case for case in load_sample().cases}
    for row in scores.rows:
        case, k = paths[row.case], 1 + LABELS.index(row.label)
        import nibabel

        truth = np.asarray(nibabel.load(case.label).dataobj) == k
        told = fitted.predict(case.images[0]).label == k
        assert row.dice == pytest.approx(2 * (truth & told).sum() / (truth.sum() + told.sum()))
        assert row.truth_ml == pytest.approx(truth.sum() * 8 / 1000)
        assert row.predicted_ml == pytest.approx(told.sum() * 8 / 1000)


def test_means_are_those_of_the_rows_within_their_intervals(scores, fitted):
    by_case = np.array([row.dice for row in scores.rows]).reshape(3, 2)
    dice = scores.metrics["dice"]
    assert dice.value == pytest.approx(by_case.mean())
    assert dice.low is not None
    assert by_case.mean(axis=1).min() <= dice.low <= dice.value <= dice.high <= by_case.mean(axis=1).max()
    assert scores.metrics["dice-white matter"].value == pytest.approx(by_case[:, 1].mean())
    evaluated = fitted.evaluate()
    assert {name: value.value for name, value in scores.metrics.items()} == pytest.approx(evaluated["linear-attention"])
    assert {name: value.value for name, value in scores.floor.items()} == pytest.approx(evaluated["atlas"])
    for name, value in scores.differences.items():
        assert value.value == pytest.approx(scores.metrics[name].value - scores.floor[name].value)


def test_tables_hold_all(scores, tmp_path):
    write_cases(scores, tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "case", "label", "dice", "nsd", "hd95", "truth_ml", "predicted_ml", "floor_dice", "floor_nsd", "floor_hd95",
        "floor_predicted_ml",
    ]  # fmt: skip
    assert [float(row["floor_dice"]) for row in rows] == [row.dice for row in scores.floor_rows]
    write_cases(scores, tmp_path / "cases.json")
    told = json.loads((tmp_path / "cases.json").read_text())
    assert told["cases"][0]["case"] == "slab-6"
    assert told["metrics"]["dice"]["value"] == scores.metrics["dice"].value
    with pytest.raises(ConfigError, match=r"\.csv or \.json"):
        write_cases(scores, tmp_path / "cases.xlsx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cases.csv", "cases.json"]


def test_the_command_prints_and_writes(saved, scores, tmp_path, monkeypatch):
    monkeypatch.setattr("omniform_medical.case_scores.score_cases", lambda run, data: scores)
    app = typer.Typer()
    app.command()(cases)
    call = lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))  # noqa: E731
    result = call(saved, "sample", "--out", tmp_path / "cases.csv")
    assert result.exit_code == 0, result.output
    assert "slab-6" in result.stdout
    assert "atlas" in result.stdout
    told = json.loads(call(saved, "sample", "--json").stdout.splitlines()[-1])
    assert told["task"] == "cases"
    assert told["run"] == str(saved)
    assert len(told["cases"]) == 6
    refused = call(saved, "sample", "--out", tmp_path / "cases.txt")
    assert isinstance(refused.exception, ConfigError)
    assert [file.name for file in tmp_path.iterdir()] == ["cases.csv"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="expected a run folder"):
        score_cases(tmp_path, "sample")
