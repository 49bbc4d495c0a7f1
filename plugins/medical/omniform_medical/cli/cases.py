"""`omniform medical cases`: score a run case by case and label by label, the floor beside."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr

if TYPE_CHECKING:
    from omniform.compare.bootstrap import Difference
    from omniform_medical.case_scores import CaseScores

__all__ = ["cases"]


def cases(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder that `train --task segment` wrote")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="a labelled data set, whose test part is scored")],
    out: Annotated[Path | None, typer.Option("--out", help="a table of all cases: .csv, or .json")] = None,
    json: JsonOption = False,
) -> None:
    import time

    from omniform_medical.case_scores import check_cases_file, score_cases, write_cases

    start = time.perf_counter()
    if out is not None:
        check_cases_file(out)
    with progress_on_stderr():
        scores = score_cases(run, data)
    if out is not None:
        write_cases(scores, out)
    if json:
        emit_json(scores.as_json() | {"run": str(run), "seconds": time.perf_counter() - start})
        return
    _print(scores)
    if out is not None:
        print(out)


def _print(scores: "CaseScores") -> None:
    from rich.table import Table
    from rich.text import Text

    from omniform.compare import numerals

    table = Table("case", "label", "dice", "nsd", "hd95", "mL", "true mL", f"{scores.floor_name} dice")
    for row, floor in zip(scores.rows, scores.floor_rows, strict=True):
        numbers = (row.dice, row.nsd, row.hd95, row.predicted_ml, row.truth_ml, floor.dice)
        shown = (numerals.MISSING if value is None else f"{value:.4g}" for value in numbers)
        table.add_row(Text(row.case), Text(row.label), *shown)
    console().print(table)
    means = Table("", scores.mixer, scores.floor_name, "difference", title="means, 95 % intervals over cases")
    for name, value in scores.metrics.items():
        means.add_row(Text(name), *map(_told, (value, scores.floor.get(name), scores.differences.get(name))))
    console().print(means)
    if not scores.same_data:
        print("The run was trained on other data: nothing here says that its training cases are left out.")


def _told(value: "Difference | None") -> str:
    from omniform.compare import numerals

    if value is None:
        return numerals.MISSING
    if value.low is None or value.high is None:
        return numerals.level(value.value)
    return f"{numerals.level(value.value)} [{numerals.level(value.low)}, {numerals.level(value.high)}]"
