"""The verb `plan`, from the embedded sample to a file that training reads."""

import json
import shlex

import pytest
import typer
from typer.testing import CliRunner

from omniform.cli.options import fields_slot, with_slots
from omniform.errors import ConfigError
from omniform_medical.cli.plan import plan
from omniform_medical.cohort import read_cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.planning import resolve_plan
from omniform_medical.splitting import split_cohort

pytest.importorskip("nilearn")


def invoke(*words: str):
    app = typer.Typer()
    app.command()(with_slots(plan, fields_slot("config", SegmentConfig, "Options")))
    return CliRunner().invoke(app, [*words])


def test_it_tells_the_plan_its_reasons_and_the_command() -> None:
    told = invoke("sample", "--folds", "3", "--model", "dtn")
    assert told.exit_code == 0, told.output
    assert "Patch" in told.stdout
    assert "the median of the training cases" in told.stdout
    assert told.stdout.splitlines()[-1] == "omniform medical train sample --folds 3 --model dtn --budget 10m"


def test_the_file_it_writes_is_what_training_would_plan(tmp_path) -> None:
    out = tmp_path / "the plan.json"
    told = invoke("sample", "--folds", "3", "--memory", "300M", "--batch", "2", "--out", str(out), "--json")
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout.splitlines()[-1])
    assert report["task"] == "plan"
    assert report["output"] == str(out)
    assert {"plan", "why", "fingerprint"} <= set(report)
    assert shlex.split(report["command"]) == [
        "omniform", "medical", "train", "sample", "--folds", "3", "--plan", str(out), "--budget", "10m",
    ]  # fmt: skip
    config = SegmentConfig(folds=3, memory="300M", batch=2)
    training = split_cohort(read_cohort("sample", config), config).train
    assert report["cases"] == len(training)
    by_file = resolve_plan(training, SegmentConfig(folds=3, memory="300M", plan=out))
    assert by_file == resolve_plan(training, config)


def test_a_folder_is_no_file(tmp_path) -> None:
    told = invoke("sample", "--out", str(tmp_path))
    assert isinstance(told.exception, ConfigError)
    assert "expected --out to name a file" in str(told.exception)
