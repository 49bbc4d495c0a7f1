"""The cache of a file's own past, against its formula and as a distribution."""

import numpy as np
import pytest

from omniform_codegen.cache import Cache


def test_single_tokens_and_pairs_by_hand():
    cache = Cache(vocabulary=4, order=2)
    assert cache.probability(2) == 1 / 4
    for token in (1, 2, 1):
        cache.add(token)
    unigram = (1 + 2 * 1 / 4) / (3 + 2)  # token 2 came once of three, two different ones came
    assert cache.probability(2) == pytest.approx((1 + 1 * unigram) / (1 + 1))  # behind 1 came 2, once


def test_is_a_distribution_and_agrees_with_itself():
    cache = Cache(vocabulary=7)
    for token in np.random.default_rng(0).integers(0, 7, 50).tolist():
        chances = cache.distribution()
        assert chances.sum() == pytest.approx(1)
        np.testing.assert_allclose([cache.probability(w) for w in range(7)], chances, rtol=1e-12)
        cache.add(token)


def test_what_came_back_is_likelier_than_what_never_came():
    cache = Cache(vocabulary=100)
    for token in (5, 6, 7, 8, 5, 6, 7):
        cache.add(token)
    assert cache.distribution().argmax() == 8
