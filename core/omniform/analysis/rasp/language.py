"""What programs are written with: inputs, attention, and the small functions built from them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from omniform.analysis.rasp.expressions import (
    Aggregate,
    Best,
    Elementwise,
    Indices,
    Predicate,
    Select,
    Selector,
    SOp,
    Tokens,
    as_sop,
)
from omniform.analysis.rasp.values import Value

__all__ = [
    "aggregate",
    "apply",
    "best",
    "everything",
    "finds",
    "indicator",
    "indices",
    "is_in",
    "length",
    "select",
    "selector_width",
    "tokens",
    "where",
]

tokens: SOp = Tokens()
indices: SOp = Indices()


def apply(function: Callable[..., Any], *args: Any) -> SOp:
    """Return the s-op of a function of s-ops or values, position by position: what a feed-forward layer computes.

    Two expressions are one only where their functions are the same object: name a function that is used twice.
    """
    return Elementwise(function, tuple(map(as_sop, args)))


def select(keys: Any, queries: Any, predicate: Predicate) -> Selector:
    """Return the selector by which query i selects key j where `predicate(keys[j], queries[i])`."""
    return Select(as_sop(keys), as_sop(queries), predicate)


def best(selector: Selector, scores: SOp) -> Selector:
    """Return the selector of those keys that have the highest score among the selected ones."""
    return Best(selector, scores)


def aggregate(selector: Selector, values: Any, default: Value = None) -> SOp:
    """Return the mean of the selected values; of values that are no numbers, that which all of them are."""
    return Aggregate(selector, as_sop(values), default)


def where(condition: SOp, chosen: Any, other: Any) -> SOp:
    """Return `chosen` where the condition holds, `other` elsewhere."""
    return apply(_choose, condition, chosen, other)


def indicator(condition: SOp) -> SOp:
    """Return 1 where the condition holds, 0 elsewhere."""
    return apply(int, condition)


def is_in(values: SOp, choices: Iterable[Value]) -> SOp:
    """Say whether a value is one of some choices."""
    return apply(_contains, tuple(choices), values)


everything: Selector = select(1, 1, operator.eq)
length: SOp = round(1 / aggregate(everything, indicator(indices == 0)))


def finds(selector: Selector) -> SOp:
    """Say whether a query selects anything: one head."""
    return aggregate(selector, 1, 0) > 0


def selector_width(selector: Selector, *, bos: bool = False) -> SOp:
    r"""Return how many keys a query selects.

    A head gives means, not sums, but position 0 is known: where a query that selects w others selects it too, the mean
    of :math:`1[j = 0]` is :math:`1 / (w + 1)`. Whether it was selected anyway takes a head of its own, which a sequence
    that begins with a token of its own, not to be counted, does not need.

    Args:
        bos: position 0 holds a beginning-of-sequence token, which is not counted: one head instead of two.
    """
    first = select(indices, 0, operator.eq)
    others = round(1 / aggregate(selector | first, indicator(indices == 0))) - 1
    return others if bos else others + aggregate(selector & first, 1, 0)


def _choose(condition: bool, chosen: Any, other: Any) -> Any:
    return chosen if condition else other


def _contains(choices: tuple[Value, ...], value: Value) -> bool:
    return value in choices
