"""The expressions of RASP: s-ops, which hold a value per position, and selectors, which hold a choice per pair."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omniform.analysis.rasp.node import Node
from omniform.analysis.rasp.notation import name, write
from omniform.analysis.rasp.values import Value, divide

__all__ = [
    "Aggregate",
    "Best",
    "Combination",
    "Constant",
    "Elementwise",
    "Indices",
    "Predicate",
    "SOp",
    "Select",
    "Selector",
    "Tokens",
    "as_sop",
]

Predicate = Callable[[Any, Any], bool]
"""Says of a key's value and a query's, in this order, whether the query selects the key."""


class SOp(Node):
    """A sequence operator: a function from a sequence to one value at each of its positions.

    Operators of Python make s-ops elementwise, `==` included; `/` is exact. What an s-op means is its paper's:
    Weiss et al., Thinking Like Transformers, arXiv 2106.06981.
    """

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> SOp:  # type: ignore[override]
        return Elementwise(operator.eq, (self, as_sop(other)))

    def __ne__(self, other: Any) -> SOp:  # type: ignore[override]
        return Elementwise(operator.ne, (self, as_sop(other)))

    def __lt__(self, other: Any) -> SOp:
        return Elementwise(operator.lt, (self, as_sop(other)))

    def __le__(self, other: Any) -> SOp:
        return Elementwise(operator.le, (self, as_sop(other)))

    def __gt__(self, other: Any) -> SOp:
        return Elementwise(operator.gt, (self, as_sop(other)))

    def __ge__(self, other: Any) -> SOp:
        return Elementwise(operator.ge, (self, as_sop(other)))

    def __add__(self, other: Any) -> SOp:
        return Elementwise(operator.add, (self, as_sop(other)))

    def __radd__(self, other: Any) -> SOp:
        return Elementwise(operator.add, (as_sop(other), self))

    def __sub__(self, other: Any) -> SOp:
        return Elementwise(operator.sub, (self, as_sop(other)))

    def __rsub__(self, other: Any) -> SOp:
        return Elementwise(operator.sub, (as_sop(other), self))

    def __mul__(self, other: Any) -> SOp:
        return Elementwise(operator.mul, (self, as_sop(other)))

    def __rmul__(self, other: Any) -> SOp:
        return Elementwise(operator.mul, (as_sop(other), self))

    def __truediv__(self, other: Any) -> SOp:
        return Elementwise(divide, (self, as_sop(other)))

    def __rtruediv__(self, other: Any) -> SOp:
        return Elementwise(divide, (as_sop(other), self))

    def __mod__(self, other: Any) -> SOp:
        return Elementwise(operator.mod, (self, as_sop(other)))

    def __and__(self, other: Any) -> SOp:
        return Elementwise(operator.and_, (self, as_sop(other)))

    def __or__(self, other: Any) -> SOp:
        return Elementwise(operator.or_, (self, as_sop(other)))

    def __invert__(self) -> SOp:
        return Elementwise(operator.not_, (self,))

    def __neg__(self) -> SOp:
        return Elementwise(operator.neg, (self,))

    def __round__(self) -> SOp:
        return Elementwise(round, (self,))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tokens(SOp):
    """The sequence itself."""

    def __repr__(self) -> str:
        return "tokens"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Indices(SOp):
    """The positions 0 .. L-1."""

    def __repr__(self) -> str:
        return "indices"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constant(SOp):
    """One value everywhere."""

    value: Value

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Elementwise(SOp):
    """A function of what stands at a position: what a feed-forward layer computes."""

    function: Callable[..., Any]
    args: tuple[SOp, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.args

    def __repr__(self) -> str:
        return write(self.function, self.args)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Aggregate(SOp):
    """The mean of what a position selects: what a head of attention gives. `default` where it selects nothing."""

    selector: Selector
    values: SOp
    default: Value = None

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.selector, self.values)

    def __repr__(self) -> str:
        default = "" if self.default is None else f", {self.default!r}"
        return f"aggregate({self.selector!r}, {self.values!r}{default})"


class Selector(Node):
    """Which keys each query selects: `(L, L)` booleans, queries before keys; `&`, `|` and `~` combine selectors."""

    __slots__ = ()

    def __and__(self, other: Selector) -> Selector:
        return Combination(operator.and_, (self, other))

    def __or__(self, other: Selector) -> Selector:
        return Combination(operator.or_, (self, other))

    def __invert__(self) -> Selector:
        return Combination(operator.not_, (self,))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Select(Selector):
    """Query i selects key j where `predicate(keys[j], queries[i])`."""

    keys: SOp
    queries: SOp
    predicate: Predicate

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.keys, self.queries)

    def __repr__(self) -> str:
        return f"select({self.keys!r}, {self.queries!r}, {name(self.predicate)})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Combination(Selector):
    """Selectors combined pair by pair: `operator.and_`, `or_` or `not_` of what they choose."""

    function: Callable[..., bool]
    parts: tuple[Selector, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.parts

    def __repr__(self) -> str:
        return write(self.function, self.parts)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Best(Selector):
    """Of the keys that a selector chooses, those with the highest score alone.

    Not in the paper's language, but in reach of attention, whose scores are numbers, not truth values; the authors'
    interpreter names it as what their program for Dyck-k lacks.
    """

    selector: Selector
    scores: SOp

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.selector, self.scores)

    def __repr__(self) -> str:
        return f"best({self.selector!r}, {self.scores!r})"


def as_sop(value: Any) -> SOp:
    """Return an s-op as it is, and a value as the s-op that has it everywhere."""
    return value if isinstance(value, SOp) else Constant(value)
