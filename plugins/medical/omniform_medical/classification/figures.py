"""Pictures of a classification: who is taken for whom, what the pictures look like, and where a network looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from omniform.plots import INK, canvas
from omniform.task import NamedFigure
from omniform_medical.classification.album import Album
from omniform_medical.classification.metrics import Predictions

__all__ = ["classification_figures", "confusion", "heat_figure"]

_SHOWN = 8
_NUMBERED = 12
_COLUMNS = 3


def classification_figures(predictions: Mapping[str, Predictions], items: Album) -> Iterator[NamedFigure]:
    """Draw the confusion matrices of all predictors side by side, and a few pictures that stand for the others."""
    columns = min(len(predictions), _COLUMNS)
    rows = -(-len(predictions) // columns)
    figure, axes = canvas(width=3.4 * columns + 0.6, height=3.4 * rows, rows=rows, columns=columns)
    for axis, (name, told) in zip(axes, predictions.items(), strict=False):
        _draw_confusion(axis, name, told, items)
    for axis in axes[len(predictions) :]:
        axis.set_axis_off()
    yield NamedFigure("confusion", "Pictures of each class (rows) by the class that was predicted (columns).", figure)
    chosen = _representative(predictions, items)
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = canvas(width=1.9 * columns, height=2.3 * rows, rows=rows, columns=columns)
    for axis in axes:
        axis.set_axis_off()
    for axis, place in zip(axes, chosen, strict=False):
        draw_picture(axis, items.pixels[place])
        said = "\n".join(f"{_short(name)}: {_short(told.labels[place])}" for name, told in predictions.items())
        axis.set_title(f"{_short(items.known_labels()[place])}\n{said}", loc="left", fontsize=7)
    yield NamedFigure("pictures", "Pictures from the surest to the least sure: the class, and what was said.", figure)


def confusion(predictions: Predictions, items: Album) -> np.ndarray:
    """Return `(K, K)` counts: true class by predicted class."""
    count = len(predictions.classes)
    cell = items.targets(predictions.classes) * count + predictions.best
    return np.bincount(cell, minlength=count**2).reshape(count, count)


def heat_figure(picture: np.ndarray, heat: np.ndarray, title: str) -> Figure:
    """Draw a picture `(H, W, C)`, and beside it the same under its heat map `(H, W)`."""
    figure, axes = canvas(width=5.0, height=2.8, columns=2)
    for axis in axes:
        axis.set_axis_off()
        draw_picture(axis, picture)
    axes[1].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.5)
    axes[0].set_title(_short(title, 60), loc="left", fontsize=8)
    return figure


def draw_picture(axis: Axes, picture: np.ndarray) -> None:
    """Draw `(H, W, C)`, grey between its own extremes."""
    if picture.shape[2] == 1:
        axis.imshow(picture[..., 0], cmap="gray")
    else:
        shown = picture if picture.dtype == np.uint8 else picture / max(float(picture.max()), 1e-12)
        axis.imshow(np.clip(shown, 0, None))


def _draw_confusion(axis: Axes, name: str, told: Predictions, items: Album) -> None:
    counts = confusion(told, items)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.grid(visible=False)
    axis.set_title(f"{_short(name)}: {np.trace(counts) / max(counts.sum(), 1):.3f} right", loc="left", fontsize=10)
    if len(counts) <= _NUMBERED:
        places = range(len(counts))
        axis.set_xticks(places, [_short(label) for label in told.classes], rotation=45, ha="right", fontsize=7)
        axis.set_yticks(places, [_short(label) for label in told.classes], fontsize=7)
        for i, j in np.argwhere(counts):
            color = INK if shares[i, j] < 0.6 else "w"
            axis.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=color)


def _representative(predictions: Mapping[str, Predictions], items: Album) -> list[int]:
    """Return pictures at even ranks of the mean probability of the right class, from the surest to the least sure."""
    sure = np.zeros(len(items))
    for told in predictions.values():
        sure += told.probabilities[np.arange(len(items)), items.targets(told.classes)]
    order = np.argsort(-sure, kind="stable")
    places = np.linspace(0, len(items) - 1, min(_SHOWN, len(items))).round().astype(int)
    return [int(order[place]) for place in places]


def _short(text: str, most: int = 24) -> str:
    """Cut a text, and keep matplotlib from reading its dollars as formulas."""
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")
