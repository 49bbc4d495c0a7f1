"""The finitely many values that an s-op can have over a vocabulary and up to a length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

from omniform.analysis.rasp.expressions import (
    Aggregate,
    Constant,
    Elementwise,
    Indices,
    SOp,
    Tokens,
    Value,
    exact,
    is_number,
)
from omniform.errors import ConfigError

__all__ = ["Domains", "Table", "numerical"]

Table = Mapping[tuple[Value, ...], Any]
"""What follows from each combination of the values of some sources."""

_LARGEST = 50_000
"""How many combinations a table may have: what a perceptron holds of them is as wide."""


class Domains:
    """Work out what values can come up, and how the elementwise ones follow from their sources.

    Sources are what no elementwise function makes: the tokens, the indices and the aggregates.

    Args:
        vocabulary: the tokens that there are.
        max_length: the longest sequence.

    Raises:
        ConfigError: if there are none.
    """

    def __init__(self, vocabulary: Sequence[Value], max_length: int) -> None:
        self.vocabulary = tuple(dict.fromkeys(vocabulary))
        if not self.vocabulary or max_length < 1:
            raise ConfigError(
                f"expected some tokens and lengths from 1, got {len(vocabulary)} tokens, {max_length} long"
            )
        self.max_length = max_length
        self._known: dict[SOp, tuple[Any, ...]] = {}

    def of(self, node: SOp) -> tuple[Any, ...]:
        """Return every value that an s-op can have, and perhaps some that it cannot."""
        if node not in self._known:
            self._known[node] = self._values(node)
        return self._known[node]

    def table(self, node: SOp) -> Table:
        """Return the value of an s-op for every combination of its sources' values.

        Combinations for which its functions are not defined, a division by zero or a sum with `None`, are left out:
        of a program that is right they never come up.

        Raises:
            ConfigError: if there are too many.
        """
        given = sources(node)
        spaces = [self.of(source) for source in given]
        if prod(map(len, spaces)) > _LARGEST:
            raise ConfigError(
                f"expected at most {_LARGEST} combinations of values to tabulate, got {prod(map(len, spaces))} of "
                f"{len(given)} variables: compile for a smaller vocabulary or a shorter length"
            )
        table: dict[tuple[Value, ...], Any] = {}
        for values in product(*spaces):
            try:
                table[values] = _evaluate(node, dict(zip(given, values, strict=True)))
            except (ArithmeticError, TypeError):
                continue
        if not table:
            raise ConfigError(f"expected {node!r} to be defined for some values of its sources, got none")
        return table

    def _values(self, node: SOp) -> tuple[Any, ...]:
        match node:
            case Tokens():
                return self.vocabulary
            case Indices():
                return tuple(range(self.max_length))
            case Aggregate(_, values, default):
                return self._means(self.of(values), default)
        return tuple(dict.fromkeys(self.table(node).values()))

    def _means(self, values: tuple[Any, ...], default: Value) -> tuple[Any, ...]:
        if not numerical(values):
            return tuple(dict.fromkeys((*values, default)))
        if any(isinstance(value, float) for value in values):
            raise ConfigError("expected integers or fractions to take means of, got floats, whose sums are not exact")
        if default is not None and not is_number(default):
            raise ConfigError(f"expected a number as the default of a mean of numbers, got {default!r}")
        sums, means = {0}, set()
        for count in range(1, self.max_length + 1):
            sums = {total + value for total in sums for value in values}
            means |= {exact(Fraction(total, count)) for total in sums}
            if len(means) > _LARGEST:
                raise ConfigError(f"expected at most {_LARGEST} different means, got more: compile for less")
        return tuple(sorted(means if default is None else means | {default}))


def sources(node: SOp) -> tuple[SOp, ...]:
    """Return the tokens, indices and aggregates that an s-op is an elementwise function of."""
    if isinstance(node, Constant):
        return ()
    if not isinstance(node, Elementwise):
        return (node,)
    return tuple(dict.fromkeys(source for arg in node.args for source in sources(arg)))


def numerical(values: Sequence[Value]) -> bool:
    """Say whether values are numbers, held in one channel, or names, held in a channel each."""
    return all(map(is_number, values))


def _evaluate(node: SOp, known: dict[SOp, Any]) -> Any:
    """Return the value of an s-op where those of its sources are known."""
    if node not in known:
        match node:
            case Constant(value):
                known[node] = value
            case Elementwise(function, args):
                known[node] = exact(function(*(_evaluate(arg, known) for arg in args)))
    return known[node]
