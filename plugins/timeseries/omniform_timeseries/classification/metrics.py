"""Probabilities of the classes, and how good they are, a unit a case.

N = cases, K = classes
"""

from __future__ import annotations

import numpy as np

from omniform.classification import Predictions
from omniform.task import Metric, Scores, Statistic, Units
from omniform_timeseries.classification.collection import Collection

__all__ = ["metrics_of", "score", "softmax"]

_METRICS = {
    "accuracy": Metric(name="accuracy", lower_is_better=False),
    "balanced_accuracy": Metric(name="balanced_accuracy", unit="mean over classes", lower_is_better=False),
    "log_loss": Metric(name="log_loss", unit="nats"),
}
_LEAST = 1e-6  # one sure mistake costs 13.8 nats, not all that there are


def metrics_of(primary: str) -> tuple[Metric, ...]:
    """Return all metrics, this one first."""
    return (_METRICS[primary], *(metric for name, metric in _METRICS.items() if name != primary))


def score(predictions: Predictions, items: Collection) -> Scores:
    """Score probabilities against the labels of the same cases.

    Balanced accuracy is the mean over classes of the share that is right. Each case weighs one over the size of its
    class, so that it too is a ratio of sums over cases; resampling keeps these weights. Log loss takes probabilities
    of at least 1e-6.
    """
    if predictions.items.ids != items.ids:
        raise ValueError("expected predictions of exactly these cases")
    truth = items.targets(predictions.classes)
    right = (predictions.best == truth).astype(np.float64)
    weight = 1.0 / np.bincount(truth, minlength=len(predictions.classes))[truth]
    surprise = -np.log(np.clip(predictions.probabilities[np.arange(len(truth)), truth], _LEAST, 1.0))
    ones = np.ones(len(truth))
    statistics = {
        "accuracy": Statistic(right, ones),
        "balanced_accuracy": Statistic(right * weight, weight),
        "log_loss": Statistic(surprise, ones),
    }
    return Scores(statistics, Units(kind="group"))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return `exp(s) / sum exp(s)` along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
