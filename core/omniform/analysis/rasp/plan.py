"""What a compiled program keeps where in its residual stream, and what each perceptron and head does with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from omniform.analysis.rasp.domains import Domains, Table, numerical, sources
from omniform.analysis.rasp.expressions import (
    Aggregate,
    Best,
    Combination,
    Elementwise,
    Indices,
    Predicate,
    Select,
    Selector,
    SOp,
    Tokens,
)
from omniform.analysis.rasp.node import Node
from omniform.analysis.rasp.schedule import Head, depths, schedule
from omniform.analysis.rasp.values import Value
from omniform.errors import ConfigError

__all__ = ["Lookup", "Plan", "Read", "Space", "Wiring", "make_plan"]

Scores = Callable[[dict[SOp, Any], dict[SOp, Any]], int]

_MOST_PAIRS = 2_000_000
"""How many pairs of a key's values and a query's a selector may be asked for."""


@dataclass(frozen=True, slots=True)
class Space:
    """Channels that hold a variable: one for a number, one for each value of another, of which one is 1."""

    start: int
    values: tuple[Any, ...]
    numerical: bool = False

    @property
    def width(self) -> int:
        return 1 if self.numerical else len(self.values)

    def encode(self, value: Any) -> list[float]:
        """Return what the channels hold for a value."""
        return [float(value)] if self.numerical else [float(other == value) for other in self.values]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A perceptron's table: a variable that follows from others."""

    given: tuple[Space, ...]
    table: Table
    target: Space


@dataclass(frozen=True, slots=True)
class Read:
    """A mean that a head takes, and what stands for it where nothing is selected."""

    values: Space
    target: Space
    default: list[float]


@dataclass(frozen=True, slots=True)
class Wiring:
    """A head: the score of each class of queries for each class of keys, 0 for what is not selected."""

    queries: Space
    keys: Space
    scores: list[list[int]]
    reads: tuple[Read, ...]


@dataclass(slots=True)
class Plan:
    """All variables of a compiled program; channel 0 marks the sink.

    Attributes:
        depths: behind how many layers each part of the program is known.
        spaces: the channels of each variable.
        lookups: of the perceptron before the first layer, then of those of the layers.
        heads: of each layer.
    """

    domains: Domains
    depths: Mapping[Node, int]
    spaces: dict[Any, Space] = field(default_factory=dict)
    width: int = 1
    lookups: list[list[Lookup]] = field(default_factory=list)
    heads: list[list[Wiring]] = field(default_factory=list)

    def allot(self, key: Any, values: tuple[Any, ...], *, number: bool = False) -> Space:
        """Return new channels for a variable."""
        space = self.spaces[key] = Space(self.width, values, number)
        self.width += space.width
        return space


def make_plan(program: SOp, domains: Domains) -> tuple[Plan, Space]:
    """Lay out a program, by its `schedule`, and return where its result will be, one channel for each value.

    Raises:
        ConfigError: if it has too many values to tabulate, or combines a `best` with another selector.
    """
    known, layers = depths(program), schedule(program).layers
    plan = Plan(domains, known, lookups=[[] for _ in range(len(layers) + 1)])
    for node in (Tokens(), Indices()):
        plan.allot(node, domains.of(node))
    for heads in layers:
        plan.heads.append([_wire(plan, head) for head in heads])
    return plan, _look_up(plan, ("result", program), program, domains.of(program))


def _wire(plan: Plan, head: Head) -> Wiring:
    """Plan a head: keys that every query scores alike are one class, and so are queries that score alike."""
    (keys, queries), score = _compared(head.selector), _scores(head.selector, plan.domains)
    key, query = Elementwise(_together, keys), Elementwise(_together, queries)
    key_values, query_values = plan.domains.of(key), plan.domains.of(query)
    if len(key_values) * len(query_values) > _MOST_PAIRS:
        raise ConfigError(
            f"expected at most {_MOST_PAIRS} pairs of keys and queries to score, got {len(key_values)} by "
            f"{len(query_values)}: compile for a smaller vocabulary or a shorter length"
        )
    held = [dict(zip(keys, value, strict=True)) for value in key_values]
    rows = [tuple(score(k, dict(zip(queries, value, strict=True))) for k in held) for value in query_values]
    columns = list(zip(*rows, strict=True))
    members = sorted(map(columns.index, set(columns)))
    return Wiring(
        queries=_class(plan, head.selector, query, rows),
        keys=_class(plan, head.selector, key, columns),
        scores=[[row[member] for member in members] for row in dict.fromkeys(rows)],
        reads=tuple(_read(plan, aggregate) for aggregate in head.aggregates),
    )


def _class(plan: Plan, selector: Selector, side: Elementwise, scores: list[tuple[int, ...]]) -> Space:
    """Return the channels of one side's class, numbered as they come: those of equal scores are one."""
    numbers = {row: number for number, row in enumerate(dict.fromkeys(scores))}
    classes = dict(zip(plan.domains.of(side), map(numbers.__getitem__, scores), strict=True))
    return _look_up(plan, (selector, side, tuple(scores)), side, tuple(numbers.values()), classes)


def _read(plan: Plan, aggregate: Aggregate) -> Read:
    values = plan.domains.of(aggregate.values)
    if isinstance(aggregate.values, Tokens | Indices) and not numerical(values):
        held = plan.spaces[aggregate.values]
    else:
        held = _look_up(plan, ("value", aggregate.values), aggregate.values, values, number=numerical(values))
    means = plan.domains.of(aggregate)
    target = plan.allot(aggregate, means, number=held.numerical)
    missing = aggregate.default is None and held.numerical
    return Read(held, target, target.encode(means[0] if missing else aggregate.default))


def _look_up(
    plan: Plan,
    key: Any,
    node: SOp,
    values: tuple[Any, ...],
    mapping: Mapping[Any, Any] | None = None,
    *,
    number: bool = False,
) -> Space:
    """Return the channels of an s-op, or of what `mapping` makes of it, computed as soon as its sources are known."""
    if key not in plan.spaces:
        given = sources(node)
        table = plan.domains.table(node)
        if mapping is not None:
            table = {combination: mapping[value] for combination, value in table.items()}
        stage = max((plan.depths[source] for source in given), default=0)
        target = plan.allot(key, values, number=number)
        plan.lookups[stage].append(Lookup(tuple(plan.spaces[source] for source in given), table, target))
    return plan.spaces[key]


def _compared(selector: Selector) -> tuple[tuple[SOp, ...], tuple[SOp, ...]]:
    """Return what a selector asks of keys, and what of queries."""
    match selector:
        case Select(keys, queries, _):
            return (keys,), (queries,)
        case Best(inner, scores):
            keys, queries = _compared(inner)
            return _once((*keys, scores)), queries
        case Combination(_, parts):
            asked = [_compared(part) for part in parts]
            return _once(tuple(k for keys, _ in asked for k in keys)), _once(tuple(q for _, qs in asked for q in qs))
    raise AssertionError(selector)


def _scores(selector: Selector, domains: Domains) -> Scores:
    """Return the function of a key's values and a query's that scores what is selected above 0, the best highest."""
    match selector:
        case Select(keys, queries, predicate):
            return lambda k, q: _holds(predicate, k[keys], q[queries])
        case Combination(function, parts) if not any(isinstance(part, Best) for part in parts):
            asked = [_scores(part, domains) for part in parts]
            return lambda k, q: int(function(*(bool(score(k, q)) for score in asked)))
        case Best(inner, scores) if not isinstance(inner, Best):
            chosen, ranks = _scores(inner, domains), {v: rank for rank, v in enumerate(sorted(domains.of(scores)), 1)}
            return lambda k, q: chosen(k, q) * ranks[k[scores]]
    raise ConfigError("expected `best` around a whole selector, got it within one, which no head of attention computes")


def _holds(predicate: Predicate, key: Value, query: Value) -> int:
    """Return 1 or 0; 0 of values that cannot be compared, which a program that is right never compares."""
    with suppress(ArithmeticError, TypeError):
        return int(bool(predicate(key, query)))
    return 0


def _once(nodes: tuple[SOp, ...]) -> tuple[SOp, ...]:
    return tuple(dict.fromkeys(nodes))


def _together(*values: Value) -> tuple[Value, ...]:
    return values
