"""`omniform medical cross-validate`: train a run for each fold, and score every case by the run that did not see it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniform.cli.domain import (
    BudgetOption,
    DataArgument,
    DepthOption,
    ParamsOption,
    StepsOption,
    read_budget,
    read_count,
)
from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr

if TYPE_CHECKING:
    from omniform.compare.bootstrap import Difference
    from omniform.training.config import Training
    from omniform_medical.folds import FoldsReport

__all__ = ["cross_validate"]


def cross_validate(
    data: DataArgument,
    config: Any,
    training: "Training",
    mixer: Annotated[str, typer.Option("--mixer", help="a token mixer of the zoo")] = "attention",
    budget: BudgetOption = None,
    steps: StepsOption = None,
    params: ParamsOption = "200k",
    depth: DepthOption = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of everything random")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder, or one to go on in; runs/segment-MIXER-folds if unsaid")
    ] = None,
    json: JsonOption = False,
) -> None:
    budget_, size = read_budget(budget, steps), read_count(params)
    import time

    from omniform_medical import folds

    start = time.perf_counter()
    with progress_on_stderr():
        report = folds.cross_validate(
            data,
            config,
            mixer=mixer,
            budget=budget_,
            training=training,
            params=size,
            depth=depth,
            seed=seed,
            out=out or Path("runs", f"segment-{mixer}-folds"),
        )
    if json:
        emit_json(report.as_json() | {"seconds": time.perf_counter() - start})
    else:
        _print(report)


def _print(report: "FoldsReport") -> None:
    from rich.table import Table

    from omniform.compare import numerals

    table = Table("", report.mixer, report.floor_name, title=f"{len(report.folds)} folds, 95 % intervals over cases")
    for name, value in report.metrics.items():
        table.add_row(name, _told(value), _told(report.floor.get(name)))
    console().print(table)
    for fold in report.folds:
        scores = ", ".join(f"{name} {numerals.level(value)}" for name, value in fold.metrics.items())
        print(f"{fold.run}: {scores}")
    print("", *report.notes, report.verdict, report.out / "folds.json", sep="\n")


def _told(value: "Difference | None") -> str:
    from omniform.compare import numerals

    if value is None:
        return numerals.MISSING
    if value.low is None or value.high is None:
        return numerals.level(value.value)
    return f"{numerals.level(value.value)} [{numerals.level(value.low)}, {numerals.level(value.high)}]"
