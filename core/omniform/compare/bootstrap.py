"""Resampling of units that depend on each other, seeds nested within.

U = units, G = groups, R = replicates, C = columns (a total and a weight for every run), S = runs of one row
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from omniform.task import Statistic, Units

__all__ = ["MIN_BLOCKS", "Bootstrap", "Difference"]

MIN_BLOCKS = 3
"""With fewer independent blocks or groups a bootstrap interval collapses, so none is given."""

_CHUNK = 4_000_000  # entries of one counts matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference of two means and its 95 % interval; no interval where the units are too few to give one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Bootstrap:
    """Draw the units of a score again and again, the same draws for everything that is compared.

    Units in time are drawn in circular blocks (Politis & Romano 1992), groups as wholes. Within each replicate a row of
    S runs draws S - 1 of them with replacement: the variance of their mean is then unbiased (Rao & Wu 1988), where
    drawing S would make three seeds look a fifth too certain.

    Args:
        units: how the units depend on each other.
        size: the number of units, U.
    """

    def __init__(self, units: Units, size: int, *, replicates: int = 2000, seed: int = 0) -> None:
        self.units = units
        self.size = size
        self.replicates = replicates
        self.seed = seed
        self.block = min(max(units.block, 1), size)

    @property
    def num_blocks(self) -> float:
        """Return how many independent pieces the units hold: blocks of time, or groups."""
        if self.units.kind == "time":
            return self.size / self.block
        return float(self.size if self.units.groups is None else len(np.unique(self.units.groups)))

    def replicate(self, rows: Sequence[Sequence[Statistic]]) -> np.ndarray:
        """Return the metric of every row in every replicate, `(R, len(rows))`; a row is its runs' statistics."""
        runs = [run for row in rows for run in row]
        columns = np.stack([part for run in runs for part in (run.total, run.weight)], axis=1)  # (U, C)
        sums = self._sums(columns.astype(np.float64))  # (R, C)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = sums[:, 0::2] / sums[:, 1::2]  # (R, runs)
        values = np.stack([_link(values[:, i], run) for i, run in enumerate(runs)], axis=1)
        ends = np.cumsum([len(row) for row in rows])
        return np.stack([self._nest(part, i) for i, part in enumerate(np.split(values, ends[:-1], axis=1))], axis=1)

    def difference(self, first: np.ndarray, second: np.ndarray, value: float) -> Difference:
        """Return `value` with the 95 % percentile interval of `first - second`, two columns of `replicate`."""
        if self.num_blocks < MIN_BLOCKS:
            return Difference(value=value)
        low, high = np.nanpercentile(first - second, (2.5, 97.5))
        return Difference(value=value, low=float(low), high=float(high))

    def counts(self) -> Iterator[np.ndarray]:
        """Yield how often each unit (or each group, in sorted order) is drawn, a few replicates at a time."""
        rng = np.random.default_rng(self.seed)
        pieces = self.size if self.units.kind == "time" else int(self.num_blocks)
        draw = _draw_blocks if self.units.kind == "time" else _draw_groups
        rows = max(1, _CHUNK // pieces)
        for start in range(0, self.replicates, rows):
            yield draw(rng, min(rows, self.replicates - start), pieces, self.block)

    def _sums(self, columns: np.ndarray) -> np.ndarray:
        """Sum the columns over every draw: `(U, C) -> (R, C)`."""
        if self.units.kind == "group" and self.units.groups is not None:
            labels, index = np.unique(self.units.groups, return_inverse=True)
            grouped = np.zeros((len(labels), columns.shape[1]))
            np.add.at(grouped, index, columns)
            columns = grouped  # (G, C)
        return np.concatenate([counts @ columns for counts in self.counts()])

    def _nest(self, values: np.ndarray, row: int) -> np.ndarray:
        """Average over runs drawn anew in every replicate: `(R, S) -> (R,)`."""
        runs = values.shape[1]
        rng = np.random.default_rng((self.seed, row))
        drawn = rng.integers(0, runs, (self.replicates, max(1, runs - 1)))
        return np.take_along_axis(values, drawn, axis=1).mean(axis=1)


def _link(ratio: np.ndarray, statistic: Statistic) -> np.ndarray:
    return np.sqrt(ratio) if statistic.link == "sqrt" else ratio


def _draw_blocks(rng: np.random.Generator, rows: int, size: int, block: int) -> np.ndarray:
    """Draw circular blocks until `size` units are there, the last block cut short: `(rows, size)` counts."""
    starts = rng.integers(0, size, (rows, -(-size // block)))
    ends = starts + block
    ends[:, -1] -= starts.shape[1] * block - size
    steps = np.zeros((rows, 2 * size + 1))
    row = np.arange(rows)[:, None]
    np.add.at(steps, (row, starts), 1.0)
    np.add.at(steps, (row, ends), -1.0)
    counts = np.cumsum(steps[:, :-1], axis=1)
    return counts[:, :size] + counts[:, size:]


def _draw_groups(rng: np.random.Generator, rows: int, size: int, block: int) -> np.ndarray:
    """Draw `size` groups with replacement: `(rows, size)` counts."""
    drawn = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
