"""Scores against sklearn, and their statistics against scores that were computed anew on resampled pictures."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, roc_auc_score, top_k_accuracy_score

from omniform.classification import Predictions
from omniform.errors import DataError
from omniform_medical.classification.metrics import metrics_of, score

CLASSES = ("a", "b", "c", "d")


def told(make_album, count=80, classes=3, seed=0):
    """Return predictions with ties that are right more often than not, for labels among the first classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    chances = np.round(rng.dirichlet(np.ones(4), count), 1) + 0.25 * np.eye(4)[truth] + 0.01
    album = replace(make_album(count), labels=tuple(CLASSES[t] for t in truth))
    return Predictions(chances / chances.sum(axis=1, keepdims=True), CLASSES, album), truth


def test_scores_are_sklearns(make_album):
    predictions, truth = told(make_album, classes=4)
    values = score(predictions, predictions.items).values()
    chances = predictions.probabilities
    assert values["accuracy"] == pytest.approx((predictions.best == truth).mean())
    assert values["top2_accuracy"] == pytest.approx(top_k_accuracy_score(truth, chances, k=2), abs=0.03)  # ties
    assert values["macro_f1"] == pytest.approx(f1_score(truth, predictions.best, average="macro"))
    assert values["auroc"] == pytest.approx(roc_auc_score(truth, chances, multi_class="ovr"))
    assert values["log_loss"] == pytest.approx(log_loss(truth, chances))
    assert values["top2_accuracy"] >= values["accuracy"]


def test_a_class_that_does_not_occur_is_left_out(make_album):
    predictions, truth = told(make_album)
    values = score(predictions, predictions.items).values()
    assert values["macro_f1"] == pytest.approx(f1_score(truth, predictions.best, average="macro"))
    areas = [roc_auc_score(truth == k, predictions.probabilities[:, k]) for k in range(3)]
    assert values["auroc"] == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("name", ["macro_f1", "auroc"])
def test_resampled_statistics_vary_as_scores_computed_anew_do(make_album, name):
    predictions, truth = told(make_album, count=200)
    statistic = score(predictions, predictions.items).statistics[name]
    rng = np.random.default_rng(1)
    ours, anew = [], []
    for _ in range(80):
        drawn = rng.integers(0, 200, 200)
        ours.append(statistic.value(np.bincount(drawn, minlength=200)))
        chances = predictions.probabilities[drawn]
        if name == "macro_f1":
            anew.append(f1_score(truth[drawn], chances.argmax(1), average="macro"))
        else:
            anew.append(np.mean([roc_auc_score(truth[drawn] == k, chances[:, k]) for k in range(3)]))
    assert np.std(ours) == pytest.approx(np.std(anew), rel=0.1)
    assert np.corrcoef(ours, anew)[0, 1] > 0.98


def test_patients_are_the_groups(make_album):
    predictions, _ = told(make_album, count=9)
    assert score(predictions, predictions.items).units.groups is None
    album = replace(predictions.items, patients=tuple("aabbbccaa"))
    scores = score(replace(predictions, items=album), album)
    assert scores.units.groups.tolist() == [0, 0, 1, 1, 1, 2, 2, 0, 0]


def test_what_cannot_be_scored_is_refused(make_album):
    predictions, _ = told(make_album)
    with pytest.raises(ValueError, match="exactly these"):
        score(predictions, predictions.items.take(range(3)))
    one = replace(predictions.items, labels=("a",) * 80)
    with pytest.raises(DataError, match="one class"):
        score(replace(predictions, items=one), one)


def test_the_primary_metric_stands_first():
    assert [metric.name for metric in metrics_of("auroc")][:2] == ["auroc", "accuracy"]
