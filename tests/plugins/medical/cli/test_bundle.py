"""`omniform medical bundle`: a run in, a bundle out."""

import json

import pytest
import typer
from typer.testing import CliRunner

from omniform.errors import RunError
from omniform.training.config import Training
from omniform_medical.api import Segmenter
from omniform_medical.bundle import load_network
from omniform_medical.cli.bundle import bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    segmenter = Segmenter(
        "linear-attention", spacing=(4, 4, 4), patch=(16, 16, 1), stages=2, params=20_000, depth=1,
        training=Training(precision="32", device="cpu"),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "run"
    segmenter.fit("sample", budget="1", progress=False).save(path)
    return path


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(bundle)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_the_folder_is_told_and_holds_a_bundle(run, saved, tmp_path):
    result = run(saved, "--out", tmp_path / "bundle", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["task"] == "bundle"
    assert told["out"] == str(tmp_path / "bundle")
    assert "models/model.safetensors" in told["files"]
    assert all((tmp_path / "bundle" / name).is_file() for name in told["files"])
    # a network of planes, which MONAI slides over each plane
    inferer = json.loads((tmp_path / "bundle" / "configs" / "inference.json").read_text())["inferer"]
    assert inferer["_target_"] == "SliceInferer"
    assert inferer["roi_size"] == [16, 16]
    assert load_network(tmp_path / "bundle")


def test_a_folder_that_is_taken_is_refused(run, saved, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    result = run(saved, "--out", tmp_path)
    assert isinstance(result.exception, RunError)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
