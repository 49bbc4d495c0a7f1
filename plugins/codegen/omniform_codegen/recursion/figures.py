"""A picture of where recursion ends: accuracy by depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.ticker import MaxNLocator

from omniform.plots import GRID, PALETTE, canvas
from omniform.task import NamedFigure
from omniform_codegen.recursion.examples import Examples
from omniform_codegen.recursion.metrics import exact
from omniform_codegen.recursion.predictions import Predictions

__all__ = ["recursion_figures"]


def recursion_figures(predictions: Mapping[str, Predictions], items: Examples, deep: int) -> Iterator[NamedFigure]:
    """Draw the share of right outputs at every depth, a line for each predictor; deep ones are shaded."""
    depths = np.array([example.depth for example in items.examples])
    found = np.unique(depths)
    figure, (axis,) = canvas(7.2, 3.6)
    if found.max() >= deep:
        axis.axvspan(deep - 0.5, found.max() + 0.5, color=GRID, alpha=0.6, zorder=0)
    for index, (name, said) in enumerate(predictions.items()):
        right = exact(said)
        shares = [right[depths == depth].mean() for depth in found]
        color = PALETTE[index % len(PALETTE)]
        axis.plot(found, shares, "o-", color=color, linewidth=1.6, markersize=4, label=name.replace("$", r"\$"))
    axis.set_ylim(-0.03, 1.03)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("depth of the recursion")
    axis.set_ylabel("share of right outputs")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    yield NamedFigure("depth", "Right outputs by depth of the recursion; shaded is what is rare in training.", figure)
