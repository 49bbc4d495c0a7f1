"""The programs of the paper: Weiss et al., Thinking Like Transformers, arXiv 2106.06981.

With `bos`, position 0 holds a beginning-of-sequence token, which is not counted: widths then take one head, not two.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import eq, le, lt

from omniform.analysis.rasp.expressions import Selector, SOp
from omniform.analysis.rasp.language import (
    aggregate,
    apply,
    best,
    finds,
    indicator,
    indices,
    is_in,
    length,
    select,
    selector_width,
    tokens,
    where,
)
from omniform.analysis.rasp.values import Value
from omniform.errors import ConfigError

__all__ = [
    "PAIRS",
    "double_histogram",
    "dyck",
    "dyck_1",
    "dyck_without_best",
    "histogram",
    "most_frequent",
    "reverse",
    "sort",
]

PAIRS = ("()", "{}", "[]", "<>")
"""Openers with their closers."""

_UP_TO_SELF = select(indices, indices, le)


def reverse() -> SOp:
    """Return the sequence backwards."""
    return aggregate(select(indices, length - 1 - indices, eq), tokens)


def histogram(*, bos: bool = False) -> SOp:
    """Return how often each position's token is there; 0 for the token at the beginning."""
    return selector_width(select(tokens, tokens, eq), bos=bos)


def double_histogram(*, bos: bool = False) -> SOp:
    """Return how many different tokens are as frequent as each position's token; 0 for the token at the beginning."""
    counts = histogram(bos=bos)
    as_frequent = select(counts, counts, eq) & select(_seen_before(), False, eq)
    return selector_width(as_frequent, bos=bos)


def sort(values: SOp = tokens, keys: SOp = tokens, *, bos: bool = False) -> SOp:
    """Return the values in the order of their keys, equal ones in their own; a token at the beginning stays there."""
    before = select(keys, keys, lt) | (select(keys, keys, eq) & select(indices, indices, lt))
    rank = selector_width(before, bos=bos)
    place = where(indices == 0, 0, rank + 1) if bos else rank
    return aggregate(select(place, indices, eq), values)


def most_frequent(blank: Value = "§", *, bos: bool = False) -> SOp:
    """Return the different tokens, the most frequent first, equally frequent ones as they come; then blanks."""
    seen = _seen_before()
    rarity = apply(_pair, seen, -histogram(bos=bos))
    return sort(where(seen, blank, tokens), rarity, bos=bos)


def dyck_1(pair: str = "()") -> SOp:
    """Return of each prefix "T" if its brackets match, "P" if they still could, "F" if they cannot any more."""
    _, balance = _balance((pair,))
    return _verdict(balance < 0, balance)


def dyck(k: int = 2) -> SOp:
    """Return of each prefix whether its k kinds of brackets match, as `dyck_1`, by `best`; other tokens do not matter.

    The opener of a closer is the last one so far that opened the depth that it closes.

    Raises:
        ConfigError: if there are not so many kinds of brackets.
    """
    pairs, opens, level = _brackets(k)
    openers = select(opens, True, eq) & select(level, level, eq) & _UP_TO_SELF
    return _match(pairs, best(openers, indices))


def dyck_without_best(k: int = 2) -> SOp:
    """Return what `dyck` does, in the paper's own language: one layer more, to number the brackets of each depth.

    Raises:
        ConfigError: if there are not so many kinds of brackets.
    """
    pairs, opens, level = _brackets(k)
    bracket = is_in(tokens, "".join(pairs))
    same_level = select(level, level, eq) & select(bracket, True, eq)
    number = selector_width(same_level & _UP_TO_SELF)
    openers = select(opens, True, eq) & same_level & select(number, number - 1, eq)
    return _match(pairs, openers)


def _seen_before() -> SOp:
    return finds(select(tokens, tokens, eq) & select(indices, indices, lt))


def _balance(pairs: Sequence[str]) -> tuple[SOp, SOp]:
    """Return which tokens close, and how many more have opened than closed."""
    opens, closes = (is_in(tokens, "".join(pair[side] for pair in pairs)) for side in (0, 1))
    return closes, _count_so_far(opens) - _count_so_far(closes)


def _count_so_far(condition: SOp) -> SOp:
    return round((indices + 1) * aggregate(_UP_TO_SELF, indicator(condition)))


def _brackets(k: int) -> tuple[Sequence[str], SOp, SOp]:
    """Return the pairs, which tokens open, and the depth at which each bracket of a pair stands."""
    if not 1 <= k <= len(PAIRS):
        raise ConfigError(f"expected 1 to {len(PAIRS)} kinds of brackets, got {k}")
    pairs = PAIRS[:k]
    closes, balance = _balance(pairs)
    return pairs, is_in(tokens, "".join(pair[0] for pair in pairs)), balance + indicator(closes)


def _match(pairs: Sequence[str], openers: Selector) -> SOp:
    closes, balance = _balance(pairs)
    matches = is_in(aggregate(openers, tokens, "") + tokens, pairs)
    return _verdict((closes & ~matches) | (balance < 0), balance)


def _verdict(broken: SOp, balance: SOp) -> SOp:
    """Return the state of each prefix: one that is broken stays so."""
    ever = aggregate(_UP_TO_SELF, indicator(broken)) > 0
    return where(ever, "F", where(balance == 0, "T", "P"))


def _pair(a: Value, b: Value) -> tuple[Value, Value]:
    return a, b
