"""The language beside Tracr's own, where that is installed: `pip install tracr-pypi`."""

from __future__ import annotations

import random
from collections.abc import Callable
from operator import eq, lt
from typing import Any

import pytest

from omniform.analysis.rasp import aggregate, indicator, indices, run, select, selector_width, tokens
from omniform.analysis.rasp.programs import histogram, reverse, sort

rasp = pytest.importorskip("tracr.rasp.rasp")


def their_reverse() -> Any:
    length = rasp.SelectorWidth(rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.TRUE))
    flip = rasp.Select(rasp.indices, length - rasp.indices - 1, rasp.Comparison.EQ)
    return rasp.Aggregate(flip, rasp.tokens)


def their_sort() -> Any:
    rank = rasp.SelectorWidth(rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.LT))
    return rasp.Aggregate(rasp.Select(rank, rasp.indices, rasp.Comparison.EQ), rasp.tokens)


PROGRAMS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "histogram": (
        histogram(),
        lambda: rasp.SelectorWidth(rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.EQ)),
    ),
    "reverse": (reverse(), their_reverse),
    "sort": (sort(), their_sort),
    "width": (
        selector_width(select(tokens, tokens, lt) & ~select(indices, indices, eq)),
        lambda: rasp.SelectorWidth(
            rasp.SelectorAnd(
                rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.LT),
                rasp.SelectorNot(rasp.Select(rasp.indices, rasp.indices, rasp.Comparison.EQ)),
            )
        ),
    ),
    "share": (
        aggregate(select(tokens, tokens, lt), indicator(tokens > 3), 0),
        lambda: rasp.Aggregate(
            rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.LT), rasp.Map(lambda x: int(x > 3), rasp.tokens), 0
        ),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_agrees_with_tracr(name: str) -> None:
    ours, make = PROGRAMS[name]
    theirs, generator = make(), random.Random(0)
    for _ in range(30):
        sequence = generator.sample(range(10), k=generator.randint(1, 9))  # their sort asks for keys that differ
        assert [float(value) for value in run(ours, sequence)] == pytest.approx(theirs(sequence))
