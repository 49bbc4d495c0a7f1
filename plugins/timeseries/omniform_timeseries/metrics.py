"""Forecasts, and how far they are from the truth, one row of sums a window.

N = windows, H = horizon, C = series
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from omniform.task import Metric, Scores, Statistic, Units
from omniform_timeseries.windows import Windows

__all__ = ["Forecasts", "metrics_of", "score"]

MASE = Metric(name="mase", unit="seasonal-naive errors")
MAE = Metric(name="mae", unit="data units")
RMSE = Metric(name="rmse", unit="data units")
SCALED_MSE = Metric(name="mse", unit="training variances")
SCALED_MAE = Metric(name="mae", unit="training standard deviations")


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """Predictions in the data's own units for every window of `windows`.

    Attributes:
        values: `(N, H, C)` float64: float32 would round a counter of a billion to steps of 64.
    """

    values: np.ndarray
    windows: Windows

    def __post_init__(self) -> None:
        expected = (len(self.windows), self.windows.horizon, self.windows.num_series)
        if self.values.shape != expected:
            raise ValueError(f"expected forecasts of shape {expected}, got {self.values.shape}")


def metrics_of(protocol: Literal["native", "ltsf"]) -> tuple[Metric, ...]:
    """Return the metrics of a protocol, the primary first."""
    return (MASE, MAE, RMSE) if protocol == "native" else (SCALED_MSE, SCALED_MAE, MASE)


def score(forecasts: Forecasts, items: Windows, protocol: Literal["native", "ltsf"]) -> Scores:
    """Sum errors over horizon and series, a unit a window.

    Under both protocols MASE: the mean over series of absolute error / (in-sample seasonal-naive error on the training
    rows), so that series of different units weigh alike (Hyndman & Koehler 2006). A series whose seasonal-naive error
    is 0 has no MASE and is left out of it; if that is every series, errors are left unscaled.

    `native`: MAE and RMSE over all series, in the data's units.
    `ltsf`: mean squared and mean absolute error of values divided by the training standard deviation.

    Neighbouring windows overlap, so they are resampled in blocks of lookback + horizon rows.
    """
    if not np.array_equal(forecasts.windows.starts, items.starts):
        raise ValueError("expected forecasts of exactly these windows")
    weights = _mase_weights(items.scale.naive)
    absolute, squared, ratio = (np.empty(len(items)) for _ in range(3))
    for part in items.chunks():
        error = np.abs(forecasts.values[part] - items.future(part))  # (n, H, C)
        ratio[part] = (error * weights).sum(axis=(1, 2))
        if protocol == "ltsf":
            error /= items.scale.std
        absolute[part] = error.sum(axis=(1, 2))
        squared[part] = np.square(error).sum(axis=(1, 2))
    cells = np.full(len(items), float(items.horizon * items.num_series))
    mase = Statistic(ratio, np.full(len(items), float(items.horizon * np.count_nonzero(weights))))
    units = Units(kind="time", block=-(-(items.lookback + items.horizon) // items.stride))
    if protocol == "ltsf":
        return Scores({"mse": Statistic(squared, cells), "mae": Statistic(absolute, cells), "mase": mase}, units)
    rmse = Statistic(squared, cells, link="sqrt")
    return Scores({"mase": mase, "mae": Statistic(absolute, cells), "rmse": rmse}, units)


def _mase_weights(naive: np.ndarray) -> np.ndarray:
    scaled = naive > 0
    return np.divide(1.0, naive, out=np.zeros_like(naive), where=scaled) if scaled.any() else np.ones_like(naive)
