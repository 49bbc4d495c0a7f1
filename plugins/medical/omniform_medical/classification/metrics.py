r"""Probabilities of classes, and their scores as sums over pictures.

N = pictures, K = classes

F1 and the area under the ROC curve are no means over pictures. Their statistics are exact over all pictures, and over
resampled ones right to first order: each picture carries its influence on the score. For a mean of ratios
`F = 1/K \sum_k n_k / d_k` with sums `n_k = \sum_u n_uk`, and so for `d_k`, these are

    total_u = 1/K \sum_k (n_uk - (F_k - F) d_uk) / d_k,    weight_u = 1/K \sum_k d_uk / d_k,

so that `\sum total = F`, `\sum weight = 1`, and one more of picture u changes their ratio by the derivative
`1/K \sum_k (n_uk - F_k d_uk) / d_k`.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from omniform.classification import Predictions
from omniform.errors import DataError
from omniform.task import Metric, Scores, Statistic, Units
from omniform_medical.classification.album import Album

__all__ = ["metrics_of", "score"]

_METRICS = {
    "accuracy": Metric(name="accuracy", lower_is_better=False),
    "top2_accuracy": Metric(name="top2_accuracy", unit="share", lower_is_better=False),
    "macro_f1": Metric(name="macro_f1", unit="mean over classes", lower_is_better=False),
    "auroc": Metric(name="auroc", unit="mean over classes", lower_is_better=False),
    "log_loss": Metric(name="log_loss", unit="nats"),
}
_LEAST = 1e-6  # one sure mistake costs 13.8 nats, not all that there are


def metrics_of(primary: str) -> tuple[Metric, ...]:
    """Return all metrics, this one first."""
    return (_METRICS[primary], *(metric for name, metric in _METRICS.items() if name != primary))


def score(predictions: Predictions, items: Album) -> Scores:
    """Score probabilities against the labels of the same pictures; patients, where known, are resampled as wholes.

    Top-2 accuracy: the right class is among the two likeliest. F1 of a class is `2 TP / (2 TP + FP + FN)`, averaged
    over the classes that occur in truth or prediction; the area under the ROC curve, of each class against the others,
    over the classes that occur in truth. Log loss takes probabilities of at least 1e-6.

    Raises:
        DataError: the pictures are all of one class.
    """
    if predictions.items.names != items.names:
        raise ValueError("expected predictions of exactly these pictures")
    truth, chances = items.targets(predictions.classes), predictions.probabilities
    if len(set(truth.tolist())) < 2:
        raise DataError("expected pictures of at least two classes to score, got one class")
    right = chances[np.arange(len(truth)), truth]
    ones = np.ones(len(truth))
    rank = np.argsort(np.argsort(-chances, axis=1, kind="stable"), axis=1)[np.arange(len(truth)), truth]
    statistics = {
        "accuracy": Statistic((rank == 0).astype(np.float64), ones),
        "top2_accuracy": Statistic((rank < 2).astype(np.float64), ones),
        "macro_f1": _macro_f1(predictions.best, truth, len(predictions.classes)),
        "auroc": _auroc(chances, truth),
        "log_loss": Statistic(-np.log(np.clip(right, _LEAST, 1.0)), ones),
    }
    return Scores(statistics, Units(kind="group", groups=items.groups()))


def _macro_f1(said: np.ndarray, truth: np.ndarray, count: int) -> Statistic:
    classes = np.arange(count)
    said_is, truth_is = said[:, None] == classes, truth[:, None] == classes  # (N, K)
    above = 2.0 * (said_is & truth_is)
    below = said_is.astype(np.float64) + truth_is
    occurs = below.any(axis=0)
    return _mean_of_ratios(above[:, occurs], below[:, occurs])


def _auroc(chances: np.ndarray, truth: np.ndarray) -> Statistic:
    """Return the area as a mean over classes; to first order it is that of DeLong's structural components.

    A picture of the class outranks a share of the others, another one is outranked by a share of the class: either
    share is this picture's, ties count half, and the area is the mean of each kind. Both means enter with half a weight
    and twice the deviation, for a resampled area deviates by the sum of the two.
    """
    count = np.array([k for k in range(chances.shape[1]) if (truth == k).any()])
    shares = np.empty((len(truth), len(count)))
    weights = np.empty_like(shares)
    for column, k in enumerate(count):
        inside = truth == k
        own, other = int(inside.sum()), int((~inside).sum())
        every, among = rankdata(chances[:, k]), np.empty(len(truth))
        among[inside], among[~inside] = rankdata(chances[inside, k]), rankdata(chances[~inside, k])
        beneath = every - among  # of the other kind, ties by half
        shares[:, column] = np.where(inside, beneath / other, 1 - beneath / own)
        weights[:, column] = np.where(inside, 0.5 / own, 0.5 / other)
    areas = (shares * weights).sum(axis=0)
    mean = areas.mean()
    total = (weights * (2 * shares - 2 * areas + mean)).mean(axis=1)
    return Statistic(total, weights.mean(axis=1))


def _mean_of_ratios(above: np.ndarray, below: np.ndarray) -> Statistic:
    """Return `mean_k(sum_u above_uk / sum_u below_uk)` as the statistic of the formula atop this file."""
    whole = below.sum(axis=0)
    ratios = above.sum(axis=0) / whole
    total = ((above - (ratios - ratios.mean()) * below) / whole).mean(axis=1)
    return Statistic(total, (below / whole).mean(axis=1))
