"""The figures that every comparison has, with their captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from omniform import plots
from omniform.compare.contender import Contender
from omniform.compare.result import CompareResult
from omniform.task import NamedFigure

__all__ = ["pictures"]


def pictures(
    result: CompareResult, contenders: Sequence[Contender], *, by_steps: bool, floor_on_validation: float | None
) -> Iterator[NamedFigure]:
    """Yield leaderboard, quality against latency, and training curves, as far as rows finished."""
    primary = result.primary
    floor = result.best_floor
    if floor is not None or result.best_contender is not None:
        reference = f" The dashed line is the best floor, {floor.name}." if floor else ""
        intervals = any(row.against_floor and row.against_floor.low is not None for row in result.rows)
        whiskers = (
            " Whiskers are 95 % intervals of the difference from it, so that a whisker that reaches the line is level "
            "with the floor."
        )
        ties = " Shaded: level with the best contender."
        caption = f"Test {primary.name}, mean over seeds.{reference}{whiskers if intervals else ''}{ties}"
        yield NamedFigure("leaderboard", caption, plots.leaderboard(result.rows, primary))
    if any(row.error is None and row.latency_ms is not None for row in result.rows):
        caption = f"Test {primary.name} against the time of one prediction; the area is memory for training."
        yield NamedFigure("trade-off", caption, plots.trade_off(result.rows, primary))
    if lines := list(_curves(contenders, by_steps=by_steps)):
        figure = plots.curves(
            lines,
            xlabel="optimiser steps" if by_steps else "percent of the time budget",
            ylabel=f"validation {primary.name}",
            floor=floor_on_validation,
        )
        yield NamedFigure("curves", "Validation during training, a line per seed.", figure)


def _curves(contenders: Sequence[Contender], *, by_steps: bool) -> Iterator[plots.Curve]:
    for contender in contenders:
        for fit in contender.fits:
            points = [(record.step, record.validation) for record in fit.history if record.validation is not None]
            scale = 1 if by_steps else 100 / fit.steps
            yield plots.Curve(contender.name, [scale * step for step, _ in points], [score for _, score in points])
