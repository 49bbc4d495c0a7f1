"""The expressions of RASP: s-ops, which hold a value per position, and selectors, which hold a choice per pair."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from omniform.errors import ConfigError

__all__ = [
    "Aggregate",
    "Best",
    "Combination",
    "Constant",
    "Elementwise",
    "Indices",
    "Node",
    "Predicate",
    "SOp",
    "Select",
    "Selector",
    "Tokens",
    "Value",
    "as_sop",
    "divide",
    "exact",
    "is_number",
    "walk",
]

Value = bool | int | float | Fraction | str | tuple[Any, ...] | None
"""What stands at a position. Means of integers are fractions, so that nothing is ever rounded unasked."""

Predicate = Callable[[Any, Any], bool]
"""Says of a key's value and a query's, in this order, whether the query selects the key."""


def exact(value: Any) -> Any:
    """Return a fraction that is a whole number as an integer, anything else as it is."""
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value


def divide(a: Any, b: Any) -> Any:
    """Return a / b, of integers exactly."""
    return exact(Fraction(a) / b if isinstance(a, int) else a / b)


def is_number(value: Any) -> bool:
    """Say whether a value has a mean; truth values have none: see `indicator`."""
    return isinstance(value, int | float | Fraction) and not isinstance(value, bool)


_SYMBOLS: dict[Callable[..., Any], str] = {
    divide: "/",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.mod: "%",
    operator.and_: "&",
    operator.or_: "|",
    operator.not_: "~",
    operator.neg: "-",
}


class _Interned(type):
    """Makes equal expressions one object: shared work is done once, and two heads that are one count as one."""

    known: ClassVar[WeakValueDictionary[Any, Any]] = WeakValueDictionary()

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        node = super().__call__(*args, **kwargs)
        key = (cls, *(_identity(getattr(node, field.name)) for field in fields(node)))
        return _Interned.known.setdefault(key, node)


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class Node(metaclass=_Interned):
    """An expression, evaluated when it is run: two of the same form are the same object."""

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The expressions that this one is made of."""
        return ()

    def __bool__(self) -> bool:
        raise ConfigError("an expression is neither true nor false before it is run: combine with &, | and ~")


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
        return _call(self.function, self.args)


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
        return f"select({self.keys!r}, {self.queries!r}, {_SYMBOLS.get(self.predicate) or _name(self.predicate)})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Combination(Selector):
    """Selectors combined pair by pair: `operator.and_`, `or_` or `not_` of what they choose."""

    function: Callable[..., bool]
    parts: tuple[Selector, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.parts

    def __repr__(self) -> str:
        return _call(self.function, self.parts)


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


def walk(node: Node) -> list[Node]:
    """Return all that an expression is made of, each once, inputs before what needs them."""
    order: dict[Node, None] = {}
    stack = [node]
    while stack:
        waiting = [part for part in stack[-1].inputs if part not in order]
        stack.extend(waiting)
        if not waiting:
            order[stack.pop()] = None
    return list(order)


def _identity(field: Any) -> Hashable:
    if isinstance(field, Node):
        return id(field)
    return tuple(map(_identity, field)) if isinstance(field, tuple) else (type(field), field)


def _call(function: Callable[..., Any], args: Iterable[Node]) -> str:
    symbol, texts = _SYMBOLS.get(function), [repr(arg) for arg in args]
    if symbol is None:
        return f"{_name(function)}({', '.join(texts)})"
    return f"{symbol}{texts[0]}" if len(texts) == 1 else f"({texts[0]} {symbol} {texts[1]})"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
