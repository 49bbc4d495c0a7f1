r"""Scores of scanners as sums over snippets.

N = snippets, P = weak ones, s = probability that a snippet is weak, `1 - p(safe)`

Scores that are no ratios of sums are stored so that they are exact over all snippets, and over resampled ones right to
first order: with the derivative `d_u` of the score F by the count of snippet u, for which `\sum d_u = 0`,

    total_u = F / N + d_u,    weight_u = 1 / N.
"""

from __future__ import annotations

import numpy as np

from omniform.classification import Predictions
from omniform.errors import DataError
from omniform.task import Metric, Scores, Statistic, Units
from omniform_codegen.scanning.snippets import Snippets

__all__ = ["FALSE_ALARMS", "THRESHOLD", "metrics_of", "score", "weak_probabilities"]

THRESHOLD = 0.5
"""The probability from which on a snippet counts as weak."""

FALSE_ALARMS = 0.01
"""The share of safe snippets that `recall_at_1` lets alarm."""

_METRICS = {
    "f1": Metric(name="f1", unit="weak or safe", lower_is_better=False),
    "macro_f1": Metric(name="macro_f1", unit="mean over types", lower_is_better=False),
    "average_precision": Metric(name="average_precision", unit="weak or safe", lower_is_better=False),
    "type_accuracy": Metric(name="type_accuracy", unit="of weak snippets", lower_is_better=False),
    "recall_at_1": Metric(name="recall_at_1", unit="at 1 % false alarms", lower_is_better=False),
}


def metrics_of(primary: str) -> tuple[Metric, ...]:
    """Return all metrics, this one first."""
    return (_METRICS[primary], *(metric for name, metric in _METRICS.items() if name != primary))


def weak_probabilities(predictions: Predictions[Snippets]) -> np.ndarray:
    """Return the probability that each snippet is weak, `(N,)`; the first class is safe."""
    return 1.0 - predictions.probabilities[:, 0]


def score(predictions: Predictions[Snippets], items: Snippets) -> Scores:
    """Score probabilities against the labels of the same snippets; families and files are resampled as wholes.

    F1 is that of weak against safe at probability 0.5; macro F1 the mean over the types that occur in truth or
    prediction, where the type is the likeliest class; average precision the mean over weak snippets of the precision at
    their probability; type accuracy how many of the weak ones have the right type as the likeliest, safe set aside;
    `recall_at_1` how many of them are found where at most 1 % of the safe ones alarm.

    Raises:
        DataError: the snippets are all weak, or all safe.
    """
    if predictions.items.items != items.items:
        raise ValueError("expected predictions of exactly these snippets")
    truth = items.targets(predictions.classes)
    weak, chance = truth > 0, weak_probabilities(predictions)
    if weak.all() or not weak.any():
        raise DataError("expected weak and safe snippets to score, got one kind")
    said = chance >= THRESHOLD
    right = predictions.probabilities[:, 1:].argmax(axis=1) + 1 == truth
    statistics = {
        "f1": Statistic(2.0 * (said & weak), said.astype(np.float64) + weak),
        "macro_f1": _macro_f1(predictions.best, truth, len(predictions.classes)),
        "average_precision": _average_precision(chance, weak),
        "type_accuracy": Statistic((right & weak).astype(np.float64), weak.astype(np.float64)),
        "recall_at_1": _recall(chance, weak),
    }
    return Scores(statistics, Units(kind="group", groups=items.groups()))


def _first_order(value: float, derivative: np.ndarray) -> Statistic:
    count = len(derivative)
    return Statistic(value / count + derivative, np.full(count, 1 / count))


def _macro_f1(said: np.ndarray, truth: np.ndarray, count: int) -> Statistic:
    types = np.arange(1, count)
    said_is, truth_is = said[:, None] == types, truth[:, None] == types  # (N, K)
    above, below = 2.0 * (said_is & truth_is), said_is.astype(np.float64) + truth_is
    occurs = below.any(axis=0)
    above, below = above[:, occurs], below[:, occurs]
    whole = below.sum(axis=0)
    ratios = above.sum(axis=0) / whole
    return _first_order(float(ratios.mean()), ((above - ratios * below) / whole).mean(axis=1))


def _average_precision(chance: np.ndarray, weak: np.ndarray) -> Statistic:
    r"""Return the average precision; ties are one step.

    With `n_i` snippets at or above the probability of i, of which `p_i` is the share of weak ones,
    `d_u = [ y_u (p_u - F) + \sum_{i weak, s_i <= s_u} (y_u - p_i) / n_i ] / P`.
    """
    levels, place = np.unique(-chance, return_inverse=True)  # the highest first
    of_level = np.bincount(place, minlength=len(levels))
    weak_of_level = np.bincount(place, weights=weak, minlength=len(levels))
    reached = np.cumsum(of_level)
    precision = np.cumsum(weak_of_level) / reached
    number = weak.sum()
    value = float((weak_of_level * precision).sum() / number)
    one = np.cumsum((weak_of_level / reached)[::-1])[::-1][place]  # \sum 1 / n_i over weak i at or below u
    share = np.cumsum((weak_of_level * precision / reached)[::-1])[::-1][place]
    return _first_order(value, (weak * (precision[place] - value) + weak * one - share) / number)


def _recall(chance: np.ndarray, weak: np.ndarray) -> Statistic:
    """Return the recall above the least threshold that at most 1 % of the safe snippets exceed.

    A safe snippet above it moves the threshold, and recall by the slope of the ROC curve there.
    """
    safe = np.sort(chance[~weak])[::-1]
    found = chance > safe[min(int(FALSE_ALARMS * len(safe)), len(safe) - 1)]
    recall = found[weak].mean()
    width = max(round(2 * FALSE_ALARMS * len(safe)), 1)
    high = chance[weak] > safe[min(width, len(safe) - 1)]
    slope = float(high.mean() - (chance[weak] > safe[0]).mean()) * len(safe) / width
    alarms = found[~weak]
    derivative = np.empty(len(weak))
    derivative[weak] = (found[weak] - recall) / weak.sum()
    derivative[~weak] = -slope * (alarms - alarms.mean()) / len(safe)
    return _first_order(float(recall), derivative)
