"""Sequences are all different and their answers right."""

from __future__ import annotations

import pytest

from omniform.analysis.programs.model import PADDING
from omniform.analysis.programs.problems import Problem, make_histogram, make_reverse, make_sort
from omniform.errors import ConfigError


def _rows(problem: Problem) -> list[tuple[list[str], list[str | None]]]:
    """Return each sequence's tokens and its labels, `None` where none is asked for."""
    found = []
    for ids, targets in zip(problem.inputs.tolist(), problem.targets.tolist(), strict=True):
        tokens = [problem.tokens[token] for token in ids if token != PADDING]
        labels = [None if target == PADDING else problem.labels[target] for target in targets[: len(tokens)]]
        assert set(targets[len(tokens) :]) <= {PADDING}
        found.append((tokens, labels))
    return found


def test_histogram() -> None:
    for tokens, labels in _rows(make_histogram(letters=3, longest=4, count=60, seed=0)):
        assert tokens[0] == "<s>"
        assert labels == [None, *(str(tokens.count(token)) for token in tokens[1:])]


def test_reverse_and_sort() -> None:
    for tokens, labels in _rows(make_reverse(letters=3, longest=4, count=60, seed=0)):
        assert (tokens[0], tokens[-1]) == ("<s>", "</s>")
        assert labels == [None, *tokens[1:-1][::-1], None]
    for tokens, labels in _rows(make_sort(letters=3, longest=4, count=60, seed=0)):
        assert labels == [None, *sorted(tokens[1:-1]), None]


def test_the_parts_have_no_sequence_in_common() -> None:
    problem = make_sort(letters=2, longest=5, count=62, seed=0)  # all there are
    parts = [{tuple(row) for row in part.inputs.tolist()} for part in problem.split(0.25)]
    assert [len(part) for part in parts] == [46, 16]
    assert not parts[0] & parts[1]


def test_long_sequences_are_spread_over_the_parts() -> None:
    train, test = make_reverse(letters=4, longest=5, count=1000, seed=0).split(0.2)
    lengths = [(part.inputs != PADDING).sum(1).double().mean().item() for part in (train, test)]
    assert abs(lengths[0] - lengths[1]) < 0.2


def test_the_seed_decides() -> None:
    first, again, other = (make_sort(letters=4, longest=5, count=50, seed=seed).inputs for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_refuses_more_than_there_are() -> None:
    with pytest.raises(ConfigError, match="at most 62 sequences"):
        make_sort(letters=2, longest=5, count=63, seed=0)
    with pytest.raises(ConfigError, match="1 to 26 letters, got 27"):
        make_sort(letters=27, longest=2, count=3, seed=0)
