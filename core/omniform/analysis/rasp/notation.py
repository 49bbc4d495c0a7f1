"""How expressions are written."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from omniform.analysis.rasp.values import divide

__all__ = ["name", "write"]

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


def name(function: Callable[..., Any]) -> str:
    """Return an operator's symbol, or a function's name."""
    return _SYMBOLS.get(function) or getattr(function, "__name__", type(function).__name__)


def write(function: Callable[..., Any], args: Iterable[object]) -> str:
    """Return a function of arguments, an operator among or before them."""
    texts = [repr(arg) for arg in args]
    if function not in _SYMBOLS:
        return f"{name(function)}({', '.join(texts)})"
    return f"{name(function)}{texts[0]}" if len(texts) == 1 else f"({texts[0]} {name(function)} {texts[1]})"
