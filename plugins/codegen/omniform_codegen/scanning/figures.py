"""Pictures of a scan: which types are taken for which, and what is found at what precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from omniform.classification import Predictions
from omniform.classification.figures import confusion_figure, shorten
from omniform.plots import PALETTE, canvas
from omniform.task import NamedFigure
from omniform_codegen.scanning.metrics import weak_probabilities
from omniform_codegen.scanning.snippets import Snippets

__all__ = ["scan_figures"]


def scan_figures(predictions: Mapping[str, Predictions[Snippets]], items: Snippets) -> Iterator[NamedFigure]:
    """Draw the confusion matrices of all predictors side by side, and their precision against recall."""
    yield confusion_figure(predictions, items, what="snippets")
    figure, (axis,) = canvas(5.4, 4.2)
    for index, (name, told) in enumerate(predictions.items()):
        recall, precision = _curve(weak_probabilities(told), items.targets(told.classes) > 0)
        axis.step(recall, precision, where="post", color=PALETTE[index % len(PALETTE)], label=shorten(name, 24))
    axis.set_xlim(0, 1.02)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("share of the weak snippets that are found")
    axis.set_ylabel("share of the alarms that are right")
    axis.legend(frameon=False, fontsize=9, loc="lower left")
    yield NamedFigure("precision", "Precision against recall of weak snippets, over all thresholds.", figure)


def _curve(chance: np.ndarray, weak: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision at each probability, the highest first."""
    levels, place = np.unique(-chance, return_inverse=True)
    found = np.cumsum(np.bincount(place, weights=weak, minlength=len(levels)))
    alarms = np.cumsum(np.bincount(place, minlength=len(levels)))
    return found / max(int(weak.sum()), 1), found / alarms
