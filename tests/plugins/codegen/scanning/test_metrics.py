"""Scores against sklearn, and their statistics against scores that were computed anew on resampled snippets."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from omniform.classification import Predictions
from omniform.errors import DataError
from omniform_codegen.scanning.metrics import metrics_of, score
from omniform_codegen.scanning.snippets import Snippet, Snippets

CLASSES = ("safe", "CWE-78", "CWE-89", "CWE-95")


def told(count=400, *, seed=0, digits=6):
    """Return predictions that are right more often than not, half of the snippets safe."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(count) < 0.5, 0, rng.integers(1, 4, count))
    chances = rng.dirichlet(np.ones(4), count) + 0.4 * np.eye(4)[truth]
    chances = np.round(chances / chances.sum(axis=1, keepdims=True), digits) + 1e-9
    chances /= chances.sum(axis=1, keepdims=True)
    items = Snippets(tuple(Snippet(b"%d" % i, CLASSES[t], f"g{i // 3}") for i, t in enumerate(truth)))
    return Predictions(chances, CLASSES, items), truth


def recall_by_hand(chances, truth):
    """Return the recall above the threshold that 1 % of the safe ones exceed."""
    safe = np.sort(1 - chances[truth == 0, 0])
    level = safe[len(safe) - 1 - int(0.01 * len(safe))]
    return float((1 - chances[truth > 0, 0] > level).mean())


@pytest.mark.parametrize("digits", [6, 1])
def test_scores_are_sklearns(digits):
    predictions, truth = told(digits=digits)
    values = score(predictions, predictions.items).values()
    chances, weak = predictions.probabilities, truth > 0
    assert values["f1"] == pytest.approx(f1_score(weak, 1 - chances[:, 0] >= 0.5))
    assert values["macro_f1"] == pytest.approx(f1_score(truth, chances.argmax(1), average="macro", labels=[1, 2, 3]))
    assert values["average_precision"] == pytest.approx(average_precision_score(weak, 1 - chances[:, 0]))
    assert values["type_accuracy"] == pytest.approx((chances[weak, 1:].argmax(1) + 1 == truth[weak]).mean())
    assert values["recall_at_1"] == pytest.approx(recall_by_hand(chances, truth))


@pytest.mark.parametrize("name", ["f1", "macro_f1", "average_precision", "recall_at_1"])
def test_resampled_statistics_vary_as_scores_computed_anew_do(name):
    predictions, truth = told(3000, seed=1)
    chances, count = predictions.probabilities, len(truth)
    statistic = score(predictions, predictions.items).statistics[name]
    rng = np.random.default_rng(2)
    ours, anew = [], []
    for _ in range(80):
        drawn = rng.integers(0, count, count)
        ours.append(statistic.value(np.bincount(drawn, minlength=count)))
        some, right = chances[drawn], truth[drawn]
        anew.append(
            {
                "f1": lambda p, t: f1_score(t > 0, 1 - p[:, 0] >= 0.5),
                "macro_f1": lambda p, t: f1_score(t, p.argmax(1), average="macro", labels=[1, 2, 3]),
                "average_precision": lambda p, t: average_precision_score(t > 0, 1 - p[:, 0]),
                "recall_at_1": recall_by_hand,
            }[name](some, right)
        )
    loose = name == "recall_at_1"  # the slope of the curve is estimated
    assert np.std(ours) == pytest.approx(np.std(anew), rel=0.35 if loose else 0.1)
    assert np.corrcoef(ours, anew)[0, 1] > (0.8 if loose else 0.98)


def test_families_are_the_groups():
    predictions, _ = told(9)
    units = score(predictions, predictions.items).units
    assert (units.kind, units.groups.tolist()) == ("group", [0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_what_cannot_be_scored_is_refused():
    predictions, _ = told(30)
    with pytest.raises(ValueError, match="exactly these"):
        score(predictions, predictions.items.take(range(3)))
    safe = Snippets(tuple(Snippet(b"x", "safe") for _ in range(30)))
    with pytest.raises(DataError, match="one kind"):
        score(Predictions(predictions.probabilities, CLASSES, safe), safe)


def test_the_primary_metric_stands_first():
    assert [metric.name for metric in metrics_of("recall_at_1")][:2] == ["recall_at_1", "f1"]
