"""The finitely many values that an s-op can have over a vocabulary and up to a length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

from omniform.analysis.rasp.expressions import Aggregate, Constant, Elementwise, Indices, SOp, Tokens
from omniform.analysis.rasp.node import walk
from omniform.analysis.rasp.values import Value, exact, is_number
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
            raise ConfigError(f"expected some tokens and lengths from 1, got {len(vocabulary)} and {max_length}")
        self.max_length = max_length
        self._known: dict[SOp, tuple[Any, ...]] = {}
        self._tables: dict[SOp, Table] = {}

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
        if node not in self._tables:
            self._tables[node] = self._tabulate(node)
        return self._tables[node]

    def _tabulate(self, node: SOp) -> Table:
        given, steps = sources(node), [step for step in walk(node, Elementwise) if isinstance(step, SOp)]
        spaces = [self.of(source) for source in given]
        if prod(map(len, spaces)) > _LARGEST:
            raise ConfigError(
                f"expected at most {_LARGEST} combinations of values to tabulate, got {prod(map(len, spaces))} of "
                f"{len(given)} variables: compile for a smaller vocabulary or a shorter length"
            )
        table: dict[tuple[Value, ...], Any] = {}
        for values in product(*spaces):
            with suppress(ArithmeticError, TypeError):
                table[values] = _evaluate(steps, dict(zip(given, values, strict=True)))
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
    return tuple(part for part in walk(node, Elementwise) if isinstance(part, Tokens | Indices | Aggregate))


def numerical(values: Sequence[Value]) -> bool:
    """Say whether values are numbers, held in one channel, or names, held in a channel each."""
    return all(map(is_number, values))


def _evaluate(steps: Sequence[SOp], known: dict[SOp, Any]) -> Any:
    """Return the value of the last step, where those of the sources are known."""
    for step in steps:
        match step:
            case Constant(value):
                known[step] = value
            case Elementwise(function, args):
                known[step] = exact(function(*(known[arg] for arg in args)))
    return known[steps[-1]]
