"""`omniform bench`: what computes here, timed beside its peers."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Annotated

import typer

from omniform.cli.output import JsonOption, emit_json, progress_on_stderr
from omniform.errors import ConfigError

__all__ = ["bench_app"]

bench_app = typer.Typer(no_args_is_help=True)


@bench_app.callback()
def _bench() -> None:
    """Time what computes here beside its peers, after checking it."""


@bench_app.command("kernels")
def kernels(
    ops: Annotated[list[str] | None, typer.Argument(metavar="[OP]...", help="only these ops")] = None,
    device: Annotated[str | None, typer.Option("--device", help="cuda or cpu; a GPU if there is one")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="torch's threads on a CPU")] = None,
    json: JsonOption = False,
) -> None:
    """Check every op against its definition, then time its forms and its peers, interleaved; ratios of medians."""
    import torch

    from omniform_kernels.bench import runner, table

    for name in ops or ():
        if name not in runner.ops():
            raise ConfigError(f"expected ops among {', '.join(runner.ops())}; got {name!r}")
    if device not in (None, "cpu", "cuda"):
        raise ConfigError(f"expected --device cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here; `omniform doctor` says why")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if threads is not None:
        torch.set_num_threads(threads)
    with progress_on_stderr() if json else nullcontext():
        found = table.show(runner.rows(ops or runner.ops(), place), place)
    if json:
        emit_json(runner.as_json(found, place, " ".join(["omniform", *sys.argv[1:]])))
    if any(row.refused for row in found):
        raise typer.Exit(1)
