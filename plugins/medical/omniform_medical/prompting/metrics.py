"""How well masks answer prompts, a unit a case.

U = cases
"""

from __future__ import annotations

import numpy as np

from omniform.task import Metric, Scores, Statistic, Units
from omniform_medical.prompting.data import Prompts
from omniform_medical.prompting.masks import Masks

__all__ = ["METRICS", "score"]

METRICS = (
    Metric(name="dice", unit="mean over cases", lower_is_better=False),
    Metric(name="iou", unit="mean over cases", lower_is_better=False),
)


def score(masks: Masks, items: Prompts) -> Scores:
    """Score masks against the truth: means over the asks of a case, then over cases.

    Dice is `2 |A & B| / (|A| + |B|)`, intersection over union `|A & B| / |A | B|`. No truth is empty.
    """
    cases = {case: place for place, case in enumerate(items.grids)}
    unit = np.array([cases[ask.case] for ask in items.asks])
    truths = [ask.truth for ask in items.asks]
    pairs = [_overlap(mask, truth) for mask, truth in zip(masks.masks, truths, strict=True) if truth is not None]
    if len(pairs) != len(items):
        raise ValueError("expected the truth of every ask")
    both, total = np.array(pairs, dtype=np.float64).T
    asks = np.bincount(unit, minlength=len(cases))
    statistics = {
        "dice": _mean(2 * both / total, unit, asks),
        "iou": _mean(both / (total - both), unit, asks),
    }
    return Scores(statistics, Units(kind="group"))


def _overlap(mask: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Return the voxels that both have, and the sum of what each has."""
    return int((mask & truth).sum()), int(mask.sum()) + int(truth.sum())


def _mean(values: np.ndarray, unit: np.ndarray, asks: np.ndarray) -> Statistic:
    return Statistic(np.bincount(unit, values, minlength=len(asks)) / asks, np.ones(len(asks)))
