"""The command: files in, a table, JSON and SARIF out."""

import json

import pytest
import typer
from typer.testing import CliRunner

from omniform.errors import ConfigError, DataError
from omniform_codegen.cli.scan import scan

CODE = "import os\nos.system('ls ' + name)\nx = 1\n"


@pytest.fixture(scope="module")
def app():
    made = typer.Typer()
    made.command()(scan)
    return made


def test_rules_scan_a_folder_into_sarif(app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[bold] é.py").write_text(CODE)
    (tmp_path / "calm.py").write_text("x = 1\n")
    result = CliRunner().invoke(app, ["--rules", ".", "--out", "found.sarif"])
    assert result.exit_code == 0, result.output
    assert "CWE-78" in result.stdout
    assert "[bold] é.py:2:1" in result.stdout
    assert "1 finding in 2 files" in result.stdout
    log = json.loads((tmp_path / "found.sarif").read_text())
    (found,) = log["runs"][0]["results"]
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "%5Bbold%5D%20%C3%A9.py"
    assert place["region"]["startLine"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["[bold] é.py", "calm.py", "found.sarif"]


def test_standard_input_gives_json(app, monkeypatch):
    result = CliRunner().invoke(app, ["--rules", "-", "--json"], input=CODE)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])
    assert (report["task"], report["files"], report["types"], report["run"]) == ("scan", 1, {"CWE-78": 1}, None)
    assert (report["findings"][0]["line"], report["findings"][0]["file"]) == (2, "-")


def test_mistakes_are_said_before_anything_is_written(app, tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    out = tmp_path / "a.sarif"
    result = CliRunner().invoke(app, ["--rules", str(tmp_path / "no"), "--out", str(out)])
    assert isinstance(result.exception, DataError)
    assert not out.exists()
