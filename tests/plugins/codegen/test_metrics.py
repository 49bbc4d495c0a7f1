"""Scores as sums over files, filled gaps only where they are asked for."""

from dataclasses import replace

import numpy as np
import pytest

from omniform_codegen.config import CompleteConfig
from omniform_codegen.metrics import groups_of, metrics_of, score
from omniform_codegen.predictions import Predictions

CONFIG = replace(CompleteConfig(), spans=12)


def told(items, bits, fill):
    return Predictions(np.asarray(bits, dtype=np.float64), items, lambda items, spans: [fill(items, s) for s in spans])


def never(items, span):
    raise AssertionError("nobody asked for gaps")


def test_bits_per_byte_weighs_files_by_their_size(corpus):
    items = corpus.take([0, 3])
    scores = score(told(items, [100.0, 300.0], never), items, CONFIG)
    assert scores.statistics["bits_per_byte"].value() == pytest.approx(400 / items.size)
    assert scores.units.groups is not None


def test_what_stood_there_scores_one_and_nothing_scores_zero(corpus):
    items = corpus.take(range(4))
    bits = np.ones(4)
    right = score(told(items, bits, lambda c, s: c.files[s.place].content[s.start : s.stop]), items, CONFIG).values()
    wrong = score(told(items, bits, lambda c, s: b""), items, CONFIG).values()
    assert (right["exact_match"], right["edit_similarity"]) == (1, 1)
    assert (wrong["exact_match"], wrong["edit_similarity"]) == (0, 0)


def test_gaps_are_filled_once_for_both_scores(corpus):
    calls = []
    items = corpus.take(range(2))
    predictions = Predictions(np.ones(2), items, lambda c, spans: calls.append(len(spans)) or [b""] * len(spans))
    score(predictions, items, CONFIG).values()
    assert calls == [12]


def test_files_of_a_package_are_one_group(corpus):
    assert groups_of(corpus.take([0, 1, 2, 3])).tolist() == [0, 0, 1, 1]


def test_the_primary_metric_comes_first():
    assert next(metric.name for metric in metrics_of("edit_similarity")) == "edit_similarity"
    assert len(metrics_of("edit_similarity")) == 3


def test_predictions_of_other_files_are_refused(corpus):
    with pytest.raises(ValueError, match="exactly these files"):
        score(told(corpus.take([0]), [1.0], never), corpus.take([1]), CONFIG)
