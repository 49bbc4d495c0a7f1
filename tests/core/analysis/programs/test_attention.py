"""Heads against their definition, token by token in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from omniform.analysis.programs.attention import CategoricalHeads, NumericalHeads
from omniform.analysis.programs.relaxation import Relaxed, hardest

HEADS, VARIABLES, CATEGORIES, BATCH, LENGTH = 5, 3, 4, 6, 7


@pytest.mark.parametrize("seed", range(4))
def test_a_categorical_head_copies_from_the_closest_match(seed: int) -> None:
    torch.manual_seed(seed)
    heads = CategoricalHeads(HEADS, VARIABLES, CATEGORIES, longest=LENGTH)
    values, lengths, x, valid = _stream()
    got = heads(x, valid, hardest)
    assert torch.equal(got.sum(-1), torch.ones(BATCH, LENGTH, HEADS))
    defaults = 0
    for head in range(HEADS):
        query, key = (int(choice[head].argmax()) for choice in (heads.matching.query, heads.matching.key))
        wanted = heads.matching.predicate[head].argmax(-1).tolist()
        value = int(heads.value[head].argmax())
        for row, length in enumerate(lengths):
            for i in range(length):
                found = [j for j in range(length) if values[row, j, key] == wanted[values[row, i, query]]]
                others = [j for j in found if j != i]
                source = min(others, key=lambda j, i=i: (abs(j - i), j)) if others else i if found else 0
                defaults += not found
                assert got[row, i, head].argmax() == values[row, source, value]
    assert defaults  # the default was met


@pytest.mark.parametrize("seed", range(4))
def test_a_numerical_head_sums_over_all_matches(seed: int) -> None:
    torch.manual_seed(seed)
    largest = 9
    heads = NumericalHeads(HEADS, VARIABLES, CATEGORIES, numerical=2, largest=largest)
    values, lengths, x, valid = _stream()
    numbers = np.stack((np.ones((BATCH, LENGTH), int), np.random.default_rng(seed).integers(0, 6, (BATCH, LENGTH))), -1)
    got = heads(x, torch.from_numpy(numbers).float(), valid, hardest)
    for head in range(HEADS):
        query, key = (int(choice[head].argmax()) for choice in (heads.matching.query, heads.matching.key))
        wanted = heads.matching.predicate[head].argmax(-1).numpy()
        value = int(heads.value[head].argmax())
        for row, length in enumerate(lengths):
            for i in range(length):
                matches = values[row, :length, key] == wanted[values[row, i, query]]
                assert got[row, i, head] == min(largest, numbers[row, :length, value][matches].sum())


def test_the_soft_heads_follow_their_formula() -> None:
    torch.manual_seed(0)
    soft = Relaxed(0.7)
    categorical = CategoricalHeads(1, VARIABLES, CATEGORIES, longest=3).double()
    numerical = NumericalHeads(1, VARIABLES, CATEGORIES, numerical=2, largest=100).double()
    x = torch.rand(1, 3, VARIABLES, CATEGORIES, dtype=torch.float64).softmax(-1)
    numbers = torch.rand(1, 3, 2, dtype=torch.float64)
    valid = torch.ones(1, 3, dtype=torch.bool)

    stream = x[0].numpy()
    match = _soft_match(categorical, stream)
    match[:, 0] += np.maximum(0, 1 - match.sum(1))
    beta = np.array([[-2, -1 / 6, -3 / 6], [0, -2, -1 / 6], [-2 / 6, 0, -2]])
    expected = _softmax((np.log(match + 1e-20) + beta) / 2, 0.7) @ _soft_read(categorical.value, stream)
    np.testing.assert_allclose(categorical(x, valid, soft)[0, :, 0].detach().numpy(), expected, rtol=1e-6)

    summed = _soft_match(numerical, stream) @ (numbers[0].numpy() @ _softmax(numerical.value[0].detach().numpy(), 0.7))
    np.testing.assert_allclose(numerical(x, numbers, valid, soft)[0, :, 0].detach().numpy(), summed, rtol=1e-12)


def _stream() -> tuple[np.ndarray, list[int], Tensor, Tensor]:
    """Return values (B, L, V), lengths, one-hot vectors (B, L, V, K) and which tokens are there."""
    values = torch.randint(CATEGORIES, (BATCH, LENGTH, VARIABLES))
    lengths = torch.randint(1, LENGTH + 1, (BATCH,))
    valid = torch.arange(LENGTH) < lengths[:, None]
    return values.numpy(), lengths.tolist(), F.one_hot(values, CATEGORIES).float(), valid


def _softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp((scores - scores.max(-1, keepdims=True)) / temperature)
    return weights / weights.sum(-1, keepdims=True)


def _soft_read(choice: Tensor, stream: np.ndarray) -> np.ndarray:
    return np.tensordot(_softmax(choice[0].detach().numpy(), 0.7), stream, axes=(0, 1))


def _soft_match(heads: CategoricalHeads | NumericalHeads, stream: np.ndarray) -> np.ndarray:
    matching = heads.matching
    predicate = _softmax(matching.predicate[0].detach().numpy(), 0.7)
    return _soft_read(matching.query, stream) @ predicate @ _soft_read(matching.key, stream).T
