"""Pictures of who is taken for whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from omniform.classification.predictions import Labelled, Predictions, confusion
from omniform.plots import INK, canvas
from omniform.task import NamedFigure

__all__ = ["confusion_figure", "shorten"]

_NUMBERED = 12
_COLUMNS = 3


def confusion_figure(predictions: Mapping[str, Predictions[Any]], items: Labelled, *, what: str) -> NamedFigure:
    """Draw the confusion matrices of all predictors side by side; `what` the items are stands in the caption."""
    columns = min(len(predictions), _COLUMNS)
    rows = -(-len(predictions) // columns)
    figure, axes = canvas(width=3.4 * columns + 0.6, height=3.4 * rows, rows=rows, columns=columns)
    for axis, (name, told) in zip(axes, predictions.items(), strict=False):
        _draw(axis, name, told, items)
    for axis in axes[len(predictions) :]:
        axis.set_axis_off()
    caption = f"{what.capitalize()} of each class (rows) by the class that was predicted (columns)."
    return NamedFigure("confusion", caption, figure)


def shorten(text: str, most: int = 16) -> str:
    """Return text that fits a label, with the sign that would begin a formula taken out of its meaning."""
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def _draw(axis: Axes, name: str, told: Predictions[Any], items: Labelled) -> None:
    counts = confusion(told, items)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.grid(visible=False)
    right = np.trace(counts) / max(counts.sum(), 1)
    axis.set_title(f"{shorten(name, 24)}: {right:.3f} right", loc="left", fontsize=10)
    if len(counts) <= _NUMBERED:
        places = range(len(counts))
        axis.set_xticks(places, [shorten(label) for label in told.classes], rotation=45, ha="right", fontsize=7)
        axis.set_yticks(places, [shorten(label) for label in told.classes], fontsize=7)
        for i, j in np.argwhere(counts):
            color = INK if shares[i, j] < 0.6 else "w"
            axis.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=color)
