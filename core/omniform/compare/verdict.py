"""One sentence that says what a comparison found."""

from __future__ import annotations

from collections.abc import Sequence

from omniform.compare import numerals
from omniform.compare.result import Row
from omniform.task import Metric

__all__ = ["verdict"]


def verdict(rows: Sequence[Row], primary: Metric) -> str:
    """Say whether a contender beats the best floor: only where the 95 % interval of the difference excludes 0.

    Args:
        rows: best first, as `CompareResult` holds them.
    """
    contenders = [row for row in rows if row.role == "contender" and row.error is None]
    floor = next((row for row in rows if row.role == "floor" and row.error is None), None)
    if not contenders:
        return "No contender finished; the errors stand in the rows."
    if floor is None:
        best = contenders[0]
        return f"No floor to stand beside: {best.name} is the best contender ({_score(best, primary)})."
    winners = [row for row in contenders if _sign(row, primary) > 0]
    best = (winners or contenders)[0]
    facts = (
        f"{primary.name} {numerals.level(_mean(best, primary))} against {numerals.level(_mean(floor, primary))}, "
        f"{_difference(best)}"
    )
    if winners:
        return (
            f"{best.name} beats the {floor.name} floor on this data at this budget ({facts}){_others(best, winners)}."
        )
    if _sign(best, primary) < 0:
        return f"No contender beats the {floor.name} floor on this data at this budget (best: {best.name}, {facts})."
    if best.against_floor is None or best.against_floor.low is None:
        return (
            f"No contender can be said to beat the {floor.name} floor on this data: there are too few independent "
            f"units for an interval (best: {best.name}, {facts})."
        )
    return (
        f"No contender beats the {floor.name} floor on this data at this budget; "
        f"the best, {best.name}, is level with it ({facts})."
    )


def _others(best: Row, winners: Sequence[Row]) -> str:
    tied = [row.name for row in winners if row.tied and row is not best]
    return f"; level with {best.name}: {', '.join(tied)}" if tied else ""


def _sign(row: Row, primary: Metric) -> int:
    """Return 1 where a row beats the floor, -1 where it loses to it, 0 where they are level."""
    against = row.against_floor
    if against is None or not against.excludes_zero:
        return 0
    return 1 if (against.value < 0) == primary.lower_is_better else -1


def _difference(row: Row) -> str:
    against = row.against_floor
    if against is None:
        return "difference unknown"
    return f"difference {numerals.difference(against)}"


def _score(row: Row, primary: Metric) -> str:
    return f"{primary.name} {numerals.level(_mean(row, primary))}"


def _mean(row: Row, primary: Metric) -> float | None:
    return row.metrics[primary.name]["mean"]
