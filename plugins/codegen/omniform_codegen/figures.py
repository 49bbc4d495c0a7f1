"""Pictures of how well packages are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from omniform.plots import PALETTE, canvas
from omniform.task import NamedFigure
from omniform_codegen.corpus import Corpus
from omniform_codegen.metrics import groups_of
from omniform_codegen.predictions import Predictions

__all__ = ["complete_figures"]

_SHOWN = 16


def complete_figures(predictions: Mapping[str, Predictions], items: Corpus) -> Iterator[NamedFigure]:
    """Draw the bits per byte of the largest packages, a mark a predictor."""
    group = groups_of(items)
    sizes = np.bincount(group, weights=[len(file.content) for file in items.files])
    names = list(dict.fromkeys(file.group for file in items.files))
    shown = np.argsort(-sizes, kind="stable")[:_SHOWN]
    figure, (axis,) = canvas(width=7.2, height=1.2 + 0.3 * len(shown))
    for color, (name, told) in zip(PALETTE, predictions.items(), strict=False):
        rate = np.bincount(group, weights=told.bits, minlength=len(sizes)) / np.maximum(sizes, 1)
        axis.plot(rate[shown], range(len(shown)), "o", color=color, label=name, markeredgecolor="white")
    axis.set_yticks(range(len(shown)), [f"{names[place]} ({sizes[place] / 1000:.0f} kB)" for place in shown])
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_xlabel("bits per byte")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    yield NamedFigure("packages", "Bits per byte of held-out packages, the largest first; less is better.", figure)
