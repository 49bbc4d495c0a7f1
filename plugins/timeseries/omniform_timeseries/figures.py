"""Pictures of forecasts: what was seen, what came, and what each predictor said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

from omniform.plots import FLOOR, INK, PALETTE, canvas
from omniform.task import NamedFigure
from omniform_timeseries.metrics import Forecasts
from omniform_timeseries.windows import Windows

__all__ = ["forecast_figures", "representative"]

NUM_SERIES = 3
NUM_WINDOWS = 2
_TAIL = 3  # horizons of history to show: the whole lookback would leave the forecast a sliver


def forecast_figures(predictions: Mapping[str, Forecasts], items: Windows, *, floor: str) -> Iterator[NamedFigure]:
    """Draw the first series, each in a figure of its own, at windows that stand for the others; the floor is dashed."""
    for series, name in enumerate(items.panel.names[:NUM_SERIES]):
        chosen = representative(predictions, items, series)
        figure, axes = canvas(width=7.2, height=2.7 * len(chosen), rows=len(chosen))
        for axis, window in zip(axes, chosen, strict=True):
            _draw(axis, predictions, items, window, series, floor)
        axes[0].set_title(name, loc="left", fontsize=10)
        axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=7, ncols=5, frameon=False)
        caption = f"{name}: forecasts of {items.horizon} steps from test windows of median and high error."
        yield NamedFigure(f"forecast-{series + 1}", caption, figure)


def representative(predictions: Mapping[str, Forecasts], items: Windows, series: int) -> list[int]:
    """Return the windows at the median and at the 90th percentile of error (mean over all predictors), without repeats.

    Windows of one's own choice flatter; these are neither the best nor the worst. Where nothing is known of the
    future, as in a forecast from the end of the data, it is the last window.
    """
    last = int(items.starts[-1]) + items.lookback + items.horizon
    if last > len(items.panel):
        return [len(items) - 1]
    error = np.zeros(len(items))
    for part in items.chunks():
        truth = items.future(part)[..., series]
        for forecasts in predictions.values():
            error[part] += np.abs(forecasts.values[part, :, series] - truth).mean(axis=1)
    order = np.argsort(error, kind="stable")
    places = [round(share * (len(items) - 1)) for share in (0.5, 0.9)][:NUM_WINDOWS]
    return list(dict.fromkeys(int(order[place]) for place in places))


def _draw(
    axis: Axes, predictions: Mapping[str, Forecasts], items: Windows, window: int, series: int, floor: str
) -> None:
    shown = min(items.lookback, _TAIL * items.horizon)
    before, after = _plain(items.history_stamps(window)[-shown:]), _plain(items.future_stamps(window))
    start = int(items.starts[window])
    values = items.panel.values[start : start + items.lookback + items.horizon, series]
    seen, truth = values[items.lookback - shown : items.lookback], values[items.lookback :]
    axis.plot(before, seen, color=INK, linewidth=1.0, label="history")
    if len(truth):
        axis.plot(after[: len(truth)], truth, color=INK, linewidth=1.6, alpha=0.5, label="truth")
    for (name, forecasts), style in zip(predictions.items(), _styles(predictions, floor), strict=True):
        axis.plot(after, forecasts.values[window, :, series], label=name, **style)
    axis.axvline(before[-1], color=INK, linewidth=0.6, alpha=0.4)
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _plain(stamps: pd.DatetimeIndex) -> np.ndarray:
    return date2num(stamps.tz_localize(None).to_numpy())


def _styles(names: Iterable[str], floor: str) -> Iterator[dict[str, Any]]:
    colours = cycle(colour for colour in PALETTE if colour != FLOOR)
    for name in names:
        dashed = {"color": FLOOR, "linestyle": "--"}
        yield {"linewidth": 1.2, **(dashed if name == floor else {"color": next(colours)})}
