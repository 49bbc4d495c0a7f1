"""From what a contest left to rows, verdict, figures and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from omniform.compare.contender import Contender, Entrant, FloorEntrant
from omniform.compare.contest import Contest
from omniform.compare.folder import file_stem, save_json, save_statistics, save_units
from omniform.compare.ranking import describe, rank, summarise
from omniform.compare.result import CompareResult, Protocol, Row
from omniform.compare.trials import RATES
from omniform.compare.verdict import verdict
from omniform.task import NamedFigure
from omniform.versions import versions

__all__ = ["conclude"]


def conclude(
    contest: Contest, folder: Path, *, domain: str, data: str, command: str, protocol: Protocol, report: Path
) -> CompareResult:
    """Rank, decide, draw, and write `compare.json`, `statistics/`, `figures/`, `logs/`, `report.html` to `folder`."""
    task = contest.task
    horizon = getattr(contest.config, "horizon", None)
    entries = [(_floor_row(floor, horizon), floor.scores) for floor in contest.floors]
    entries += [(_contender_row(contender, horizon), contender.scores) for contender in contest.contenders]
    rows, bootstrap = rank(entries, contest.primary)
    _write_records([*contest.floors, *contest.contenders], folder)
    drawn, notes = _draw_own(contest, folder)
    notes += _edge_notes(contest.contenders)
    result = CompareResult(
        domain=domain,
        task=task.name,
        data=data,
        command=command,
        versions=versions(),
        primary=contest.primary,
        rows=rows,
        verdict=verdict(rows, contest.primary),
        intervals=describe(bootstrap),
        report=report,
        protocol=protocol,
        notes=notes,
    )
    save_json(result.as_json(), folder / "compare.json")
    _write_report(contest, result, drawn, folder)
    return result


def _write_report(contest: Contest, result: CompareResult, drawn: list[NamedFigure], folder: Path) -> None:
    from omniform.compare.pictures import pictures
    from omniform.report import compare_report

    floor = result.best_floor
    level = contest.validate_floor(floor.name) if floor else None
    shared = pictures(result, contest.contenders, by_steps=contest.budget.seconds is None, floor_on_validation=level)
    compare_report(result, [*shared, *drawn], folder)


def _draw_own(contest: Contest, folder: Path) -> tuple[list[NamedFigure], list[str]]:
    """Draw the task's own figures. Hours of training are not lost to a picture: a failure becomes a note."""
    drawing = Entrant(name="figures")
    drawn: list[NamedFigure] = []
    with drawing.guarded("drawing"):
        drawn += contest.figures()
    if drawing.error is None:
        return drawn, []
    _log(drawing, folder)
    return drawn, [f"Figures of the task itself are missing: {drawing.error} (logs/figures.log)"]


def _edge_notes(contenders: Sequence[Contender]) -> list[str]:
    """Say where the best learning rate may lie outside of those tried."""
    chosen = {c.name: c.training.learning_rate for c in contenders if c.search and c.error is None}
    notes = []
    for rate, side in ((RATES[0], "lowest"), (RATES[-1], "highest")):
        if names := [name for name, best in chosen.items() if best == rate]:
            notes.append(
                f"At the {side} learning rate tried, {rate:g}: {', '.join(names)}; the best may lie beyond it."
            )
    return notes


def _write_records(entrants: list[Entrant], folder: Path) -> None:
    """Write the statistics per unit of everything that finished, and the tracebacks of what did not."""
    statistics = folder / "statistics"
    statistics.mkdir()
    for entrant in entrants:
        if entrant.scores:
            save_statistics(entrant.scores, statistics / f"{file_stem(entrant.name)}.safetensors")
            save_units(entrant.scores[0], statistics / "units.safetensors")
        if entrant.error is not None:
            _log(entrant, folder)


def _log(entrant: Entrant, folder: Path) -> None:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    (logs / f"{file_stem(entrant.name)}.log").write_text(entrant.trace, encoding="utf-8")


def _floor_row(floor: FloorEntrant, horizon: int | None) -> Row:
    return Row(
        name=floor.name,
        role="floor",
        seconds=floor.seconds,
        cpu_seconds=floor.cpu_seconds,
        seeds=len(floor.scores),
        horizon=horizon,
        metrics=summarise(floor.scores) if floor.scores else {},
        error=floor.error,
    )


def _contender_row(contender: Contender, horizon: int | None) -> Row:
    fits = contender.fits
    return Row(
        name=contender.name,
        role="contender",
        params=contender.params,
        steps=round(fmean(fit.steps for fit in fits)) if fits else None,
        seconds=fmean(fit.seconds for fit in fits) if fits else None,
        cpu_seconds=fmean(fit.cpu_seconds for fit in fits) if fits else None,
        seeds=len(contender.scores),
        horizon=horizon,
        metrics=summarise(contender.scores) if contender.scores else {},
        size=asdict(contender.size) if contender.size else None,
        learning_rate=contender.training.learning_rate,
        precision=fits[0].precision if fits else None,
        latency_ms=contender.latency_ms,
        memory_mb=contender.memory_mb,
        error=contender.error,
    )
