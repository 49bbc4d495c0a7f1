"""A graph of expressions in which equal ones are one object."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from omniform.errors import ConfigError

__all__ = ["Node", "walk"]


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


def walk(node: Node, through: type[Node] = Node) -> list[Node]:
    """Return all that an expression is made of, each once, inputs before what needs them; only `through` such parts."""
    order: dict[Node, None] = {}
    stack = [node]
    while stack:
        inputs = stack[-1].inputs if isinstance(stack[-1], through) else ()
        waiting = [part for part in inputs if part not in order]
        stack.extend(waiting)
        if not waiting:
            order[stack.pop()] = None
    return list(order)


def _identity(field: Any) -> Hashable:
    if isinstance(field, Node):
        return id(field)
    return tuple(map(_identity, field)) if isinstance(field, tuple) else (type(field), field)
