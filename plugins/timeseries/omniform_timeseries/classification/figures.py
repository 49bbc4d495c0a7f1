"""Pictures of a classification: who is taken for whom, and what the cases look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from omniform.classification import Predictions, representative
from omniform.classification.figures import confusion_figure, shorten
from omniform.plots import PALETTE, canvas
from omniform.task import NamedFigure
from omniform_timeseries.classification.collection import Collection
from omniform_timeseries.classification.scaling import ChannelScale

__all__ = ["classification_figures"]

_SHOWN_CHANNELS = 3
_SHOWN_CASES = 4


def classification_figures(predictions: Mapping[str, Predictions], items: Collection) -> Iterator[NamedFigure]:
    """Draw the confusion matrices of all predictors side by side, and a few cases that stand for the others."""
    yield confusion_figure(predictions, items, what="cases")
    chosen = representative(predictions, items, _SHOWN_CASES)
    figure, axes = canvas(width=7.2, height=1.9 * len(chosen), rows=len(chosen))
    for axis, case in zip(axes, chosen, strict=True):
        _draw_case(axis, predictions, items, case)
    axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=7, ncols=_SHOWN_CHANNELS, frameon=False)
    yield NamedFigure(
        "cases", "Cases from the surest to the least sure, each channel in units of its deviation.", figure
    )


def _draw_case(axis: Axes, predictions: Mapping[str, Predictions], items: Collection, case: int) -> None:
    scale = ChannelScale.of(items)
    values = ((items.values[case] - scale.mean) / scale.spread)[:, :_SHOWN_CHANNELS]
    for channel, color in zip(range(values.shape[1]), PALETTE, strict=False):
        marker = "o" if len(values) == 1 else None
        axis.plot(values[:, channel], color=color, linewidth=1.1, marker=marker, label=shorten(items.channels[channel]))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    said = ", ".join(f"{name}: {shorten(told.labels[case])}" for name, told in predictions.items())
    truth = items.known_labels()[case]
    axis.set_title(f"{shorten(items.ids[case])} is {shorten(truth)} ({said})", loc="left", fontsize=8.5)
