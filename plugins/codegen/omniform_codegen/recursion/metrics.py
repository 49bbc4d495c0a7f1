"""Scores of what was said of terms: right or wrong as a whole, deep and shallow recursion apart.

The interpreter of `functions` is the ceiling of all of them: it scores 1.
"""

from __future__ import annotations

import numpy as np

from omniform.task import Metric, Scores, Statistic, Units
from omniform_codegen.recursion.config import MetricName
from omniform_codegen.recursion.examples import Examples
from omniform_codegen.recursion.predictions import Predictions

__all__ = ["exact", "metrics_of", "score"]

_METRICS = tuple(
    Metric(name=name, lower_is_better=False)
    for name in ("accuracy", "accuracy_deep", "accuracy_shallow", "token_accuracy")
)


def metrics_of(primary: MetricName) -> tuple[Metric, ...]:
    """Return all metrics, the primary one first."""
    return tuple(sorted(_METRICS, key=lambda metric: metric.name != primary))


def exact(predictions: Predictions) -> np.ndarray:
    """Return `(U,)` float: whether each output is right from the first token to the last."""
    pairs = zip(predictions.outputs, predictions.items.examples, strict=True)
    return np.array([said == example.output for said, example in pairs], dtype=np.float64)


def score(predictions: Predictions, items: Examples, deep: int) -> Scores:
    """Return the share of right outputs of all examples, of those at least `deep`, of the others, and of tokens.

    Tokens are compared place by place; a missing or surplus one is wrong. Every example is a unit of its own.
    """
    right = exact(predictions)
    is_deep = np.array([example.depth >= deep for example in items.examples], dtype=np.float64)
    pairs = list(zip(predictions.outputs, items.examples, strict=True))
    same = [sum(a == b for a, b in zip(said, example.output, strict=False)) for said, example in pairs]
    length = [max(len(said), len(example.output)) for said, example in pairs]
    empty = np.array([n == 0 for n in length], dtype=np.float64)  # nothing said where nothing was to be said: right
    statistics = {
        "accuracy": Statistic(right, np.ones_like(right)),
        "accuracy_deep": Statistic(right * is_deep, is_deep),
        "accuracy_shallow": Statistic(right * (1 - is_deep), 1 - is_deep),
        "token_accuracy": Statistic(np.array(same) + empty, np.array(length) + empty),
    }
    return Scores(statistics, Units(kind="group"))
