"""The meaning of a program: what it gives for a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, overload

from omniform.analysis.rasp.expressions import (
    Aggregate,
    Best,
    Combination,
    Constant,
    Elementwise,
    Indices,
    Select,
    Selector,
    SOp,
    Tokens,
)
from omniform.analysis.rasp.node import Node, walk
from omniform.analysis.rasp.values import Value, exact, is_number
from omniform.errors import DataError

__all__ = ["mean", "run"]


@overload
def run(program: SOp, sequence: Sequence[Value]) -> list[Value]: ...
@overload
def run(program: Selector, sequence: Sequence[Value]) -> list[list[bool]]: ...
def run(program: SOp | Selector, sequence: Sequence[Value]) -> list[Value] | list[list[bool]]:
    """Return what an s-op holds at each position, or a selector's rows, one for each query.

    Raises:
        DataError: if the sequence is empty, or the program asks for the mean of different values that are no numbers.

    Source: Weiss et al., arXiv 2106.06981.
    """
    if not len(sequence):
        raise DataError("expected a sequence of at least one token, got an empty one")
    results: dict[Node, Any] = {}
    for node in walk(program):
        results[node] = _evaluate(node, tuple(sequence), results)
    return results[program]


def mean(values: Sequence[Value], default: Value = None) -> Value:
    """Return the one value that all are, or the mean of numbers; `default` of none."""
    if not values:
        return default
    first = values[0]
    if all(type(value) is type(first) and value == first for value in values):
        return first
    if not all(map(is_number, values)):
        raise DataError(
            f"expected an aggregate to select equal values or numbers, got {sorted(set(map(repr, values)))}: "
            "select fewer, or make truth values numbers with `indicator`"
        )
    return exact(sum(values) / Fraction(len(values)))  # type: ignore[arg-type]


def _evaluate(node: Node, sequence: tuple[Value, ...], results: dict[Node, Any]) -> list[Any]:
    span = range(len(sequence))
    match node:
        case Tokens():
            return list(sequence)
        case Indices():
            return list(span)
        case Constant(value):
            return [value for _ in span]
        case Elementwise(function, args):
            columns = [results[arg] for arg in args]
            return [exact(function(*(column[i] for column in columns))) for i in span]
        case Aggregate(selector, values, default):
            held = results[values]
            return [mean([held[j] for j in span if row[j]], default) for row in results[selector]]
        case Select(keys, queries, predicate):
            return [[bool(predicate(key, query)) for key in results[keys]] for query in results[queries]]
        case Combination(function, parts):
            choices = [results[part] for part in parts]
            return [[function(*(choice[i][j] for choice in choices)) for j in span] for i in span]
        case Best(selector, scores):
            return [_highest(row, results[scores]) for row in results[selector]]
    raise AssertionError(node)


def _highest(row: list[bool], scores: list[Any]) -> list[bool]:
    highest = max((score for score, chosen in zip(scores, row, strict=True) if chosen), default=None)
    return [chosen and score == highest for score, chosen in zip(scores, row, strict=True)]
