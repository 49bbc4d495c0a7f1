"""What commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["JsonOption", "console", "emit_json", "emit_scores", "progress_on_stderr"]

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object as the last thing on stdout")]

_PIPE_WIDTH = 160


def console() -> Console:
    """Return a console on stdout; a pipe has no width of its own, so tables get a generous one there."""
    from rich.console import Console

    probe = Console()
    return probe if probe.is_terminal else Console(width=_PIPE_WIDTH)


@contextmanager
def progress_on_stderr() -> Iterator[None]:
    """Send whatever the work prints to stderr, so that stdout holds the result alone."""
    with redirect_stdout(sys.stderr):
        yield


def emit_json(value: Any) -> None:
    """Print one line of strict JSON: NaN and infinities, which JSON lacks, become null."""
    print(json.dumps(_finite(value), allow_nan=False), flush=True)


def emit_scores(report: Mapping[str, Any], verdict: str) -> None:
    """Print the metrics of a train or evaluate report, each beside its floor, and which is better."""
    from rich.table import Table

    table = Table("metric", report["mixer"], "floor", title=f"{report['task']}, {report['params']:,} parameters")
    for name, value in report["metrics"].items():
        table.add_row(name, _number(value), _number(report["floor"].get(name)))
    console().print(table)
    print(f"{verdict}\nrun: {report['run']}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
