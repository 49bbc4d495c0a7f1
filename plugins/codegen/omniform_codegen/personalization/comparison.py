"""Before and after, with intervals, and what they say in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from omniform.compare import numerals
from omniform.compare.bootstrap import Bootstrap, Difference
from omniform.task import Metric, Statistic, Units

__all__ = [
    "ADDED_BITS",
    "EDIT_SIMILARITY",
    "EXACT_MATCH",
    "MIN_UNITS",
    "OTHER_BITS",
    "Comparison",
    "compare",
    "verdict",
]

MIN_UNITS = 6
"""With fewer commits there is no interval: that five out of five improve is not rare enough by chance, `2 / 2^5`."""

ADDED_BITS = Metric(name="bits_per_byte", unit="bits")
EXACT_MATCH = Metric(name="exact_match", unit="share of lines", lower_is_better=False)
EDIT_SIMILARITY = Metric(name="edit_similarity", unit="mean over lines", lower_is_better=False)
OTHER_BITS = Metric(name="other_bits_per_byte", unit="bits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric before and after.

    Attributes:
        units: how many independent ones it is an average over: commits, or packages.
        difference: after less before, with a 95 % interval of the paired bootstrap over units.
    """

    metric: Metric
    before: float
    after: float
    units: int
    difference: Difference

    @property
    def outcome(self) -> Literal["better", "worse", "unsure"]:
        """What the interval says."""
        if not self.difference.excludes_zero:
            return "unsure"
        return "better" if (self.difference.value < 0) == self.metric.lower_is_better else "worse"


def compare(metric: Metric, before: Statistic, after: Statistic, *, seed: int = 0) -> Comparison:
    """Resample the units of both together: the same draws for before and after."""
    used = before.weight > 0
    before, after = (Statistic(each.total[used], each.weight[used]) for each in (before, after))
    bootstrap = Bootstrap(Units(kind="group"), int(used.sum()), seed=seed)
    values = before.value(), after.value()
    if bootstrap.num_blocks < MIN_UNITS:
        difference = Difference(value=values[1] - values[0])
    else:
        first, second = bootstrap.replicate([[after], [before]]).T
        difference = bootstrap.difference(first, second, values[1] - values[0])
    return Comparison(metric=metric, before=values[0], after=values[1], units=int(used.sum()), difference=difference)


def verdict(comparisons: Sequence[Comparison]) -> str:
    """Say whether there is a gain by the first metric, and name every other that got worse."""
    first = comparisons[0]
    change = f"{first.metric.name} {numerals.level(first.before)} before, {numerals.level(first.after)} after"
    told = f"{change}, {numerals.difference(first.difference)} over {first.units} later commits"
    match first.outcome:
        case "better":
            text = f"Gain: {told}."
        case "worse":
            text = f"Loss: {told}. Keep the base model."
        case "unsure" if first.difference.low is None:
            text = f"No gain shown: {told} are too few for an interval."
        case "unsure":
            text = f"No gain shown: {told}; the interval holds zero."
    for other in comparisons[1:]:
        if other.outcome == "worse":
            text += f" {other.metric.name} got worse: {numerals.difference(other.difference)}."
    return text
