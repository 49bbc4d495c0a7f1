"""Retrieval against a search written out."""

import numpy as np
import pytest

from omniform_codegen.retrieval import Retrieval

LENGTHS = (16, 8, 4, 2, 1)


def search(stream, text, t):
    """Return what follows the longest of the contexts in front of `text[t]`, own past first, and its length."""
    for length in LENGTHS:
        if t < length:
            continue
        context = text[t - length : t]
        for place in range(t - length - 1, -1, -1):
            if text[place : place + length] == context:
                return text[place + length], length
        for place in range(len(stream) - length - 1, -1, -1):
            if stream[place : place + length] == context:
                return stream[place + length], length
    return -1, 0


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_search_written_out(seed):
    rng = np.random.default_rng(seed)
    stream, text = rng.integers(0, 9, 300), rng.integers(0, 10, 80)
    text[30:60] = stream[100:130]
    told, length = Retrieval([stream[:150], stream[150:]]).follow(text)
    expected = [search(stream.tolist(), text.tolist(), t) for t in range(1, len(text))]
    assert list(zip(told.tolist(), length.tolist(), strict=True)) == expected
    assert (length == 16).any()
    assert (length == 0).any()


def test_a_passage_goes_on_where_the_match_ends():
    stream = np.arange(50)
    retrieval = Retrieval([stream])
    np.testing.assert_array_equal(retrieval.passage(np.array([99, 20, 21, 22]), 5), [23, 24, 25, 26, 27])
    own = np.array([20, 21, 70, 71, 72, 20, 21])
    np.testing.assert_array_equal(retrieval.passage(own, 3), [70, 71, 72])
    assert len(retrieval.passage(np.array([99]), 5)) == 0
