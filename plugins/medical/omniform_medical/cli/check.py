"""`omniform medical check`: say what a data set holds, and what is wrong with it, before anything is trained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from omniform.cli.domain import DataArgument
from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr

if TYPE_CHECKING:
    from omniform_medical.check import Survey
    from omniform_medical.cohort import Cohort
    from omniform_medical.config import CohortConfig

__all__ = ["check"]

_SHOWN = 50


def check(data: DataArgument, config: Any, json: JsonOption = False) -> None:
    import time

    from omniform_medical.check import survey_cohort
    from omniform_medical.cohort import read_cohort

    start = time.perf_counter()
    with progress_on_stderr(), _bar() as progress:
        cohort = read_cohort(data, config)
        survey = survey_cohort(cohort, progress=progress)
    report = _report(cohort, survey, config)
    report["seconds"] = time.perf_counter() - start
    if json:
        emit_json(report)
    else:
        _print(report)
    if any(finding["severity"] == "error" for finding in report["findings"]):
        raise typer.Exit(2)


def _report(cohort: "Cohort", survey: "Survey", config: "CohortConfig") -> dict[str, Any]:
    findings = [{"case": f.case, "severity": f.severity, "text": f.text} for f in survey.findings]
    split, fault = _split(cohort, config)
    if fault:
        findings.append({"case": "", "severity": "error", "text": fault})
    return {
        "task": "check",
        "data": cohort.source,
        "cases": len(cohort),
        "held_out": len(cohort.held_out),
        "split": split,
        "channels": list(cohort.channels),
        "labels": _labels(cohort, survey),
        "spacing": _ranges([measure.spacing for measure in survey.measures]),
        "size": _ranges([measure.shape for measure in survey.measures]),
        "findings": findings,
    }


def _split(cohort: "Cohort", config: "CohortConfig") -> tuple[dict[str, int] | None, str]:
    """Return how many cases train, validate and test; or why they cannot be split."""
    from omniform.errors import DataError
    from omniform_medical.splitting import split_cohort

    try:
        splits = split_cohort(cohort, config)
    except DataError as error:
        return None, str(error)
    return {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}, ""


def _labels(cohort: "Cohort", survey: "Survey") -> list[dict[str, Any]]:
    """Return of each class how many cases have it, its share of all voxels, and its volume in these cases (mL)."""
    import numpy as np

    labelled = [measure for measure in survey.measures if measure.counts is not None]
    counts = np.array([m.counts for m in labelled], dtype=np.float64).reshape(-1, len(cohort.labels))  # (N, K)
    volumes = counts * np.array([measure.voxel_volume for measure in labelled])[:, None]
    rows = []
    for place, (name, value) in enumerate(zip(cohort.labels, cohort.values, strict=True)):
        having = volumes[counts[:, place] > 0, place]
        share = counts[:, place].sum() / counts.sum() if len(counts) else None
        row = {"name": name, "value": value, "cases": len(having), "share": share}
        rows.append(row | {"ml": _ranges(having[:, None].tolist())})
    return rows


def _ranges(rows: list[Any]) -> dict[str, list[float]] | None:
    """Return the least, the median and the greatest of every column."""
    import numpy as np

    if not rows:
        return None
    ranges = {"low": np.min, "median": np.median, "high": np.max}
    return {name: reduce(rows, axis=0).tolist() for name, reduce in ranges.items()}


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    split = report["split"]
    parts = f": {split['train']} to train, {split['validation']} to validate, {split['test']} to test" if split else ""
    print(f"{report['cases']} cases{parts}; channels: {', '.join(report['channels'])}")
    table = Table("value", "class", "cases", "share", "mL (least, median, greatest)")
    for row in report["labels"]:
        share = "" if row["share"] is None else f"{100 * row['share']:.3g} %"
        table.add_row(str(row["value"]), row["name"], str(row["cases"]), share, _told(row["ml"], ", "))
    console().print(table)
    table = Table("", "least", "median", "greatest")
    for name, unit in (("size", "voxels"), ("spacing", "mm")):
        if report[name]:
            cells = (" x ".join(f"{value:.4g}" for value in report[name][key]) for key in ("low", "median", "high"))
            table.add_row(f"{name} ({unit})", *cells)
    console().print(table)
    _print_findings(report["findings"])


def _print_findings(findings: list[dict[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    counts = {kind: sum(finding["severity"] == kind for finding in findings) for kind in ("error", "warning")}
    if findings:
        table = Table("", "case", "what")
        for finding in sorted(findings, key=lambda finding: finding["severity"])[:_SHOWN]:
            table.add_row(finding["severity"], Text(finding["case"]), Text(finding["text"]))
        console().print(table)
    more = f"; {len(findings) - _SHOWN} are not shown, --json has all" if len(findings) > _SHOWN else ""
    print(f"{counts['error']} errors, {counts['warning']} warnings{more}")


def _told(ranges: dict[str, list[float]] | None, between: str) -> str:
    return "" if ranges is None else between.join(f"{ranges[key][0]:.3g}" for key in ("low", "median", "high"))


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Draw on stderr, if it is a terminal, how many cases are read."""
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
