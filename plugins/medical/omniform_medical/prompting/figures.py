"""Pictures of prompts and answers: the plane, the prompt, the outline of the truth and of every predictor's mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from omniform.plots import FLOOR, PALETTE, canvas
from omniform.task import NamedFigure
from omniform_medical.prompting.data import Ask, Prompts
from omniform_medical.prompting.masks import Masks

__all__ = ["prompt_figures"]

_SHOWN = 3
_TRUTH = "#ffffff"


def prompt_figures(predictions: Mapping[str, Masks], items: Prompts, *, floor: str) -> Iterator[NamedFigure]:
    """Draw asks spread over the items, a panel for each predictor."""
    for number, place in enumerate(np.linspace(0, len(items) - 1, min(_SHOWN, len(items))).astype(int).tolist()):
        ask = items.asks[place]
        figure, axes = canvas(width=2.6 * len(predictions), height=3.0, columns=len(predictions))
        colours = [colour for colour in PALETTE if colour != FLOOR]
        for index, (axis, (name, masks)) in enumerate(zip(axes, predictions.items(), strict=True)):
            _draw(axis, ask, masks.masks[place], FLOOR if name == floor else colours[index % len(colours)])
            axis.set_title(name, loc="left")
        caption = f"{ask.case}, plane {ask.plane}, {items.labels[ask.label]}: the truth is white."
        yield NamedFigure(f"prompt-{number + 1}", caption, figure)


def _draw(axis: Axes, ask: Ask, mask: np.ndarray, colour: str) -> None:
    axis.imshow(ask.image[0].T, cmap="gray", origin="lower")
    for outline, shade in ((ask.truth, _TRUTH), (mask, colour)):
        if outline is not None and outline.any() and not outline.all():
            axis.contour(outline.T, levels=[0.5], colors=[shade], linewidths=1.2)
    if ask.box is not None:
        x0, y0, x1, y1 = ask.box
        axis.add_patch(
            Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0 + 1, y1 - y0 + 1, fill=False, edgecolor="#8fd3ff", linestyle=":")
        )
    if ask.points is not None:
        axis.plot(*ask.points.T, "+", color="#8fd3ff", markersize=10)
    axis.grid(visible=False)
    axis.set_xticks([])
    axis.set_yticks([])
