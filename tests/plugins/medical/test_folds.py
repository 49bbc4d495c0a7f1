"""Cross-validation of six small cases that hold a bright ball each, by runs of a few steps."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from omniform import commands
from omniform.cli.options import fields_slot, with_slots
from omniform.errors import ConfigError, RunError
from omniform.task import Budget, Scores, Statistic, Units
from omniform.training.config import Training
from omniform_medical.cli.cross_validate import cross_validate as verb
from omniform_medical.cohort import read_cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.folds import FoldsReport, _joined, cross_validate
from omniform_medical.splitting import split_cohort

nibabel = pytest.importorskip("nibabel")

CONFIG = SegmentConfig(
    folds=2,
    labels="0=background,1=ball",
    patch=(8, 8, 8),
    stages=2,
    spacing=(1.0, 1.0, 1.0),
    batch=2,
    augment="none",
    overlap=0.0,
    test="0.3",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("balls")
    places = np.stack(np.meshgrid(*(np.arange(10),) * 3, indexing="ij"), axis=-1)
    for number in range(6):
        rng = np.random.default_rng(number)
        ball = ((places - rng.uniform(4, 6, 3)) ** 2).sum(-1) < rng.uniform(4, 9)
        image = 50 * ball + rng.normal(100, 10, ball.shape)
        for kind, array in (("images", image.astype(np.float32)), ("labels", ball.astype(np.uint8))):
            (folder / kind).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / kind / f"case{number}.nii.gz")
    return folder


def run(source: Path, out: Path, config: SegmentConfig = CONFIG, *, mixer: str = "attention") -> FoldsReport:
    return cross_validate(
        source,
        config,
        mixer=mixer,
        budget=Budget(steps=2),
        training=Training(device="cpu"),
        params=20_000,
        depth=1,
        seed=0,
        out=out,
        progress=False,
    )


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory) -> FoldsReport:
    return run(source, tmp_path_factory.mktemp("finished") / "cv")


def test_every_case_that_is_not_for_testing_is_scored_once_by_the_other_run(finished, source) -> None:
    cohort = read_cohort(source, CONFIG)
    scored = []
    for index, fold in enumerate(finished.folds):
        splits = split_cohort(cohort, replace(CONFIG, fold=index))
        names = [case.name for case in splits.validation.cases]
        assert [row.case for row in fold.cases] == [row.case for row in fold.floor_cases] == names
        assert fold.run.name == f"fold-{index}"
        config = json.loads((fold.run / "config.json").read_text())["config"]
        assert (config["fold"], config["folds"]) == (index, 2)
        scored += names
    assert sorted(scored) == ["case0", "case1", "case2", "case3"]
    assert any("2 test cases were left alone" in note for note in finished.notes)


def test_means_are_those_of_the_cases_beside_the_floors(finished) -> None:
    for told, table in ((finished.metrics, "cases"), (finished.floor, "floor_cases")):
        rows = [row for fold in finished.folds for row in getattr(fold, table)]
        for name in ("dice", "nsd", "hd95"):
            assert told[name].value == pytest.approx(np.mean([getattr(row, name) for row in rows]))
        assert told["dice"].low <= told["dice"].value <= told["dice"].high
    gap = finished.metrics["dice"].value - finished.floor["dice"].value
    assert finished.difference.value == pytest.approx(gap)
    assert "floor" in finished.verdict


def test_the_file_holds_the_report(finished) -> None:
    value = json.loads((finished.out / "folds.json").read_text())
    assert value == json.loads(json.dumps(finished.as_json()))
    assert value["task"] == "cross-validate"
    assert set(value["metrics"]) == {"dice", "nsd", "hd95", "ece", "dice-ball"}
    assert set(value["folds"][0]["cases"][0]) == {"case", "label", "dice", "nsd", "hd95", "truth_ml", "predicted_ml"}


def test_a_finished_fold_is_skipped_and_one_cut_off_goes_on(finished, source, monkeypatch) -> None:
    trained = []

    def train(*arguments, real=commands.train, **options):
        trained.append((options["out"].name, options["resume"]))
        return real(*arguments, **options)

    monkeypatch.setattr(commands, "train", train)
    again = run(source, finished.out)
    assert not trained
    assert again.as_json() == finished.as_json()
    (finished.out / "fold-1" / "metrics.json").unlink()
    resumed = run(source, finished.out)
    assert trained == [("fold-1", True)]
    assert resumed.metrics["dice"].value == pytest.approx(finished.metrics["dice"].value, rel=1e-5)


def test_another_cross_validation_is_not_gone_on_with(finished, source) -> None:
    with pytest.raises(RunError, match="begun with another mixer"):
        run(source, finished.out, mixer="gla")
    with pytest.raises(RunError, match="begun with another config"):
        run(source, finished.out, replace(CONFIG, overlap=0.25))
    with pytest.raises(RunError, match="new, empty or a cross-validation"):
        run(source, source)


def test_a_fold_of_ones_own_is_refused(source, tmp_path) -> None:
    with pytest.raises(ConfigError, match="expected no --fold"):
        run(source, tmp_path / "cv", replace(CONFIG, fold=1))
    assert not (tmp_path / "cv").exists()


def test_patients_of_different_folds_are_different() -> None:
    def scores(groups: list[int]) -> Scores:
        ones = np.ones(len(groups))
        return Scores({"dice": Statistic(ones * len(groups), ones)}, Units(kind="group", groups=np.array(groups)))

    got = _joined([scores([0, 0, 1]), scores([1, 0])])
    assert got.units.groups is not None
    assert got.units.groups.tolist() == [0, 0, 1, 3, 2]
    assert got.statistics["dice"].total.tolist() == [3, 3, 3, 2, 2]


def test_the_verb_prints_what_the_folder_holds(finished, source) -> None:
    body = with_slots(verb, fields_slot("config", SegmentConfig, ""), fields_slot("training", Training, ""))
    app = typer.Typer()
    app.command()(body)
    words = [str(source), "--folds", "2", "--labels", CONFIG.labels, "--patch", "8,8,8", "--stages", "2"]
    words += ["--spacing", "1,1,1", "--batch", "2", "--augment", "none", "--overlap", "0", "--test", "0.3"]
    words += ["--steps", "2", "--device", "cpu", "--params", "20k", "--depth", "1", "--out", str(finished.out)]
    told = CliRunner().invoke(app, [*words, "--json"])
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout.splitlines()[-1])
    assert report["metrics"]["dice"]["value"] == pytest.approx(finished.metrics["dice"].value, rel=1e-5)
    plain = CliRunner().invoke(app, words)
    assert plain.exit_code == 0, plain.output
    assert finished.verdict in plain.stdout
    assert "left alone" in plain.stdout
