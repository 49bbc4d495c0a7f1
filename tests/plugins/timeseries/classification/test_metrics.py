"""Scores against scikit-learn, and as sums over cases."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from omniform.classification import Predictions
from omniform.errors import ConfigError
from omniform_timeseries.classification.metrics import metrics_of, score, softmax
from omniform_timeseries.classification.output import prediction_frame, write_predictions


@pytest.fixture
def told(levels):
    rng = np.random.default_rng(1)
    cases = levels.take(range(40))  # classes of unequal size
    return Predictions(softmax(2 * rng.standard_normal((40, 3))), ("high", "low", "mid"), cases)


def test_scores_are_those_of_scikit_learn(told):
    values = score(told, told.items).values()
    truth, said = list(told.items.labels), list(told.labels)
    assert values["accuracy"] == pytest.approx(oracle.accuracy_score(truth, said))
    assert values["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, said))
    assert values["log_loss"] == pytest.approx(oracle.log_loss(truth, told.probabilities, labels=list(told.classes)))


def test_a_unit_is_a_case(told):
    scores = score(told, told.items)
    assert scores.units.kind == "group"
    assert scores.statistics["accuracy"].total.shape == (40,)
    with pytest.raises(ValueError, match="exactly these cases"):
        score(told, told.items.take(range(39)))


def test_a_sure_mistake_costs_a_finite_loss(make_collection):
    cases = make_collection([[[0.0]]], ["a"])
    told = Predictions(np.array([[0.0, 1.0]]), ("a", "b"), cases)
    assert score(told, cases).values()["log_loss"] == pytest.approx(6 * np.log(10))


def test_the_primary_metric_comes_first():
    assert [metric.name for metric in metrics_of("log_loss")] == ["log_loss", "accuracy", "balanced_accuracy"]
    assert not metrics_of("accuracy")[0].lower_is_better


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_files_hold_a_row_a_case(told, tmp_path, name):
    write_predictions(told, tmp_path / "new" / name)
    reader = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    read = reader(tmp_path / "new" / name)
    expected = prediction_frame(told)
    columns = ["unique_id", "label", "probability_high", "probability_low", "probability_mid"]
    assert read.columns.tolist() == columns
    assert read["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(read[columns[2:]], expected[columns[2:]])


def test_another_suffix_is_refused(told, tmp_path):
    with pytest.raises(ConfigError, match=r"\.csv"):
        write_predictions(told, tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())
