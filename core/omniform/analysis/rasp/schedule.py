"""Which layer and which head of a transformer computes what: how many of them a program needs at most."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from omniform.analysis.rasp.expressions import Aggregate, Selector, SOp
from omniform.analysis.rasp.node import Node, walk

__all__ = ["Head", "Schedule", "depths", "schedule"]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A head of attention: one selector, and all that is aggregated by it in this layer."""

    selector: Selector
    aggregates: tuple[Aggregate, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """The heads of each layer, each aggregate as early as it can be."""

    layers: tuple[tuple[Head, ...], ...]

    @property
    def num_layers(self) -> int:
        """How many layers of attention suffice."""
        return len(self.layers)

    @property
    def num_heads(self) -> int:
        """How many heads suffice in every layer."""
        return max(map(len, self.layers), default=0)

    def __str__(self) -> str:
        lines = [f"{self.num_layers} layers, at most {self.num_heads} heads"]
        for number, heads in enumerate(self.layers, 1):
            lines += [f"layer {number}: {head.selector!r} of {len(head.aggregates)} values" for head in heads]
        return "\n".join(lines)


def depths(program: Node) -> dict[Node, int]:
    """Return behind how many layers of attention each part of a program is known.

    The inputs are known before the first layer. What is elementwise is known with its arguments: the feed-forward part
    of their layer computes it, or for inputs, the embedding. An aggregate is known one layer behind what its selector
    compares and what it takes the mean of.
    """
    known: dict[Node, int] = {}
    for node in walk(program):
        known[node] = max((known[part] for part in node.inputs), default=0) + isinstance(node, Aggregate)
    return known


def schedule(program: SOp) -> Schedule:
    """Return where each aggregate of a program is computed; one selector in one layer is one head.

    The counts are upper bounds: another program, or a later place of an aggregate that can wait, may do with fewer.

    Source: Weiss et al., arXiv 2106.06981, table 1.
    """
    found: defaultdict[int, defaultdict[Selector, list[Aggregate]]] = defaultdict(lambda: defaultdict(list))
    for node, depth in depths(program).items():
        if isinstance(node, Aggregate):
            found[depth][node.selector].append(node)
    return Schedule(
        tuple(
            tuple(Head(selector, tuple(aggregates)) for selector, aggregates in found[depth].items())
            for depth in sorted(found)
        )
    )
