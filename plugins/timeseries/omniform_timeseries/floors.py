"""Simple forecasts that a network should beat: the last season again, and one linear map.

n = windows of a chunk, L = lookback, H = horizon, C = series
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omniform.task import Splits
from omniform_timeseries.metrics import Forecasts
from omniform_timeseries.windows import Windows

__all__ = ["PENALTIES", "Ridge", "RidgePredictor", "SeasonalNaive", "SeasonalNaivePredictor"]

PENALTIES = tuple(10.0**power for power in range(-6, 2))
"""Ridge strengths to choose from, in units of the mean square of a lagged value."""


@dataclass(frozen=True, slots=True)
class SeasonalNaivePredictor:
    """Repeat the last season that the window sees, for as long as the horizon asks."""

    season: int

    def predict(self, items: Windows) -> Forecasts:
        steps = items.lookback - self.season + np.arange(items.horizon) % self.season
        values = [items.history(part)[:, steps] for part in items.chunks()]  # (n, H, C) each
        return Forecasts(np.concatenate(values), items)


@dataclass(frozen=True, slots=True)
class SeasonalNaive:
    """The seasonal-naive forecast; nothing is learnt but the season's length (otexts.com/fpp3, 5.2)."""

    def fit(self, splits: Splits[Windows], *, seed: int) -> SeasonalNaivePredictor:
        return SeasonalNaivePredictor(splits.train.scale.season)


@dataclass(frozen=True, slots=True, eq=False)
class RidgePredictor:
    """Forecast `last + (history - last) W`, the same `W` `(L, H)` for every series and any scale of it."""

    weights: np.ndarray
    penalty: float

    def predict(self, items: Windows) -> Forecasts:
        values = []
        for part in items.chunks():
            last = items.last(part)  # (n, 1, C)
            change = (items.history(part) - last).transpose(0, 2, 1)  # (n, C, L)
            values.append((change @ self.weights).transpose(0, 2, 1) + last)
        return Forecasts(np.concatenate(values), items)


@dataclass(frozen=True, slots=True)
class Ridge:
    """One linear map from lookback to horizon, shared by all series, in closed form.

    With `x` the history and `y` the future of one series, less the last value seen and divided by the series' training
    standard deviation,

        W = argmin sum |y - x W|^2 + p |W|^2,    p = penalty * tr(X'X) / L

    over all training windows; the penalty with the least squared error on the validation windows is taken. This is the
    closed form of NLinear (arXiv 2205.13504; 2403.14587 on closed-form linear forecasts).
    """

    penalties: Sequence[float] = PENALTIES

    def fit(self, splits: Splits[Windows], *, seed: int) -> RidgePredictor:
        train, validation = _Moments.of(splits.train), _Moments.of(splits.validation)
        eigenvalues, basis = np.linalg.eigh(train.xx)
        rotated = basis.T @ train.xy  # (L, H)
        size = max(float(np.trace(train.xx)) / len(train.xx), np.finfo(float).tiny)
        floor = eigenvalues.clip(min=0)[:, None]

        def solve(penalty: float) -> np.ndarray:
            return basis @ (rotated / (floor + penalty * size))

        best = min(self.penalties, key=lambda penalty: validation.error(solve(penalty)))
        return RidgePredictor(solve(best), best)


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Sums over windows and series from which every squared error of a linear map follows."""

    xx: np.ndarray  # (L, L)
    xy: np.ndarray  # (L, H)
    yy: float

    @classmethod
    def of(cls, items: Windows) -> _Moments:
        xx, xy, yy = np.zeros((items.lookback, items.lookback)), np.zeros((items.lookback, items.horizon)), 0.0
        for part in items.chunks():
            last = items.last(part)
            x = ((items.history(part) - last) / items.scale.std).transpose(0, 2, 1).reshape(-1, items.lookback)
            y = ((items.future(part) - last) / items.scale.std).transpose(0, 2, 1).reshape(-1, items.horizon)
            xx += x.T @ x
            xy += x.T @ y
            yy += float(np.vdot(y, y))
        return cls(xx, xy, yy)

    def error(self, weights: np.ndarray) -> float:
        """Return `sum |y - x W|^2`."""
        return self.yy - 2 * float(np.vdot(weights, self.xy)) + float(np.vdot(weights, self.xx @ weights))
