"""Pictures of a classification: who is taken for whom, what the pictures look like, and where a network looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from omniform.classification import Predictions, representative
from omniform.classification.figures import confusion_figure, shorten
from omniform.plots import canvas
from omniform.task import NamedFigure
from omniform_medical.classification.album import Album

__all__ = ["classification_figures", "heat_figure"]

_SHOWN = 8


def classification_figures(predictions: Mapping[str, Predictions], items: Album) -> Iterator[NamedFigure]:
    """Draw the confusion matrices of all predictors side by side, and a few pictures that stand for the others."""
    yield confusion_figure(predictions, items, what="pictures")
    chosen = representative(predictions, items, _SHOWN)
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = canvas(width=1.9 * columns, height=2.3 * rows, rows=rows, columns=columns)
    for axis in axes:
        axis.set_axis_off()
    for axis, place in zip(axes, chosen, strict=False):
        draw_picture(axis, items.pixels[place])
        said = "\n".join(f"{shorten(name)}: {shorten(told.labels[place])}" for name, told in predictions.items())
        axis.set_title(f"{shorten(items.known_labels()[place])}\n{said}", loc="left", fontsize=7)
    yield NamedFigure("pictures", "Pictures from the surest to the least sure: the class, and what was said.", figure)


def heat_figure(picture: np.ndarray, heat: np.ndarray, title: str) -> Figure:
    """Draw a picture `(H, W, C)`, and beside it the same under its heat map `(H, W)`."""
    figure, axes = canvas(width=5.0, height=2.8, columns=2)
    for axis in axes:
        axis.set_axis_off()
        draw_picture(axis, picture)
    axes[1].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.5)
    axes[0].set_title(shorten(title, 60), loc="left", fontsize=8)
    return figure


def draw_picture(axis: Axes, picture: np.ndarray) -> None:
    """Draw `(H, W, C)`, grey between its own extremes."""
    if picture.shape[2] == 1:
        axis.imshow(picture[..., 0], cmap="gray")
    else:
        shown = picture if picture.dtype == np.uint8 else picture / max(float(picture.max()), 1e-12)
        axis.imshow(np.clip(shown, 0, None))
