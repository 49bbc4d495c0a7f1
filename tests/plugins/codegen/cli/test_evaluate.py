"""The command `evaluate`, on problems and on data."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from omniform.errors import ConfigError, SandboxError
from omniform_codegen.cli.evaluate import evaluate
from omniform_codegen.sandbox import Outcome, Sandbox

PROBLEMS = [
    {"task_id": f"t/{i}", "prompt": f"def f{i}():\n", "entry_point": f"f{i}",
     "test": f"def check(f):\n    assert f() == {i}", "canonical_solution": f"    return {i}"}
    for i in range(4)
]  # fmt: skip


@pytest.fixture
def app():
    made = typer.Typer()
    made.command()(evaluate)
    return made


@pytest.fixture
def problems(tmp_path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(map(json.dumps, PROBLEMS)))
    return path


@pytest.fixture
def samples(tmp_path) -> Path:
    path = tmp_path / "samples.jsonl"
    rows = [{"task_id": f"t/{i}", "completion": f"    return {value}"} for i in range(4) for value in (i, 1)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _needs_sandbox() -> None:
    try:
        Sandbox().check()
    except SandboxError as error:
        pytest.skip(str(error))


def test_samples_are_judged_in_the_sandbox(app, problems, samples, tmp_path):
    _needs_sandbox()
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, [str(samples), str(problems), "--sandbox", "--k", "1,2", "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["metrics"] == {"pass@1": pytest.approx(5 / 8), "pass@2": 1.0}
    assert report["floor"] == {"pass@1": 0.0, "pass@2": 0.0}
    low, high = report["intervals"]["pass@1"]
    assert low <= 5 / 8 <= high
    assert (report["task"], report["problems"], report["samples"], report["executed"]) == ("evaluate", 4, 8, True)
    rows = [json.loads(line) for line in (out / "samples.jsonl_results.jsonl").read_text().splitlines()]
    assert [row["passed"] for row in rows] == [True, False, True, True, True, False, True, False]


def test_nothing_is_run_unless_asked_for(app, problems, samples, monkeypatch):
    monkeypatch.setattr(Sandbox, "run", lambda *args, **options: pytest.fail("a completion was run"))
    result = CliRunner().invoke(app, [str(samples), str(problems)])
    assert result.exit_code == 0, result.output
    assert "none was run" in result.stdout
    assert "--sandbox" in result.stdout


def test_a_machine_without_a_sandbox_is_told_before_anything_is_generated(app, problems, monkeypatch, tmp_path):
    from omniform_codegen import api

    monkeypatch.setattr(Sandbox, "run", lambda *args, **options: Outcome("refused", None, b"", b"", 0.0, reason="no"))
    monkeypatch.setattr(api, "load_language", lambda path: pytest.fail("a model was loaded"))
    result = CliRunner().invoke(app, ["model", str(problems), "--sandbox", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, SandboxError)
    assert not (tmp_path / "out").exists()


def test_a_model_writes_samples(app, problems, monkeypatch, tmp_path):
    from omniform_codegen import api, evaluation

    asked = []

    def complete_problems(language, problems, *, samples, sampling):
        asked.append(sampling)
        return {problem.id: [problem.reference] * samples for problem in problems}

    monkeypatch.setattr(api, "load_language", lambda path: SimpleNamespace(name="named"))
    monkeypatch.setattr(evaluation, "complete_problems", complete_problems)
    out = tmp_path / "out"
    arguments = ["model", str(problems), "--out", str(out), "--json", "--samples", "2", "--seed", "5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])
    assert (report["mixer"], report["executed"], report["samples"]) == ("named", False, 8)
    assert "metrics" not in report
    assert len((out / "samples.jsonl").read_text().splitlines()) == 8
    assert (asked[0].temperature, asked[0].seed) == (0.8, 5)


@pytest.mark.parametrize("options", [["--k", "0"], ["--k", "a"], ["--k", ""], ["--k", "10", "--samples", "2"]])
def test_impossible_options_are_refused(app, problems, options, tmp_path):
    result = CliRunner().invoke(app, ["model", str(problems), *options, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ConfigError)
    assert not (tmp_path / "out").exists()


def test_too_few_samples_are_told_before_any_is_run(app, problems, samples, monkeypatch):
    run = Sandbox.run
    monkeypatch.setattr(Sandbox, "run", lambda *args, **options: None if options else run(*args))
    result = CliRunner().invoke(app, [str(samples), str(problems), "--sandbox", "--k", "3"])
    if isinstance(result.exception, SandboxError):
        pytest.skip(str(result.exception))
    assert isinstance(result.exception, ConfigError)
    assert "at least 3 samples of each problem" in str(result.exception)


def test_other_data_goes_to_the_shared_command(app, monkeypatch):
    from omniform import commands

    report = SimpleNamespace(as_json=lambda: {"task": "complete"}, verdict="")
    asked = []
    monkeypatch.setattr(commands, "evaluate", lambda run, data: asked.append((run, data)) or report)
    result = CliRunner().invoke(app, ["runs/x", "sample", "--json"])
    assert json.loads(result.stdout.splitlines()[-1]) == {"task": "complete"}
    assert asked == [(Path("runs/x"), "sample")]
