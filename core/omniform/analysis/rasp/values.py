"""What stands at a position, and the exact arithmetic of it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

__all__ = ["Value", "divide", "exact", "is_number"]

Value = bool | int | float | Fraction | str | tuple[Any, ...] | None
"""What stands at a position. Means of integers are fractions, so that nothing is ever rounded unasked."""


def exact(value: Any) -> Any:
    """Return a fraction that is a whole number as an integer, anything else as it is."""
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value


def divide(a: Any, b: Any) -> Any:
    """Return a / b, of integers exactly."""
    return exact(Fraction(a) / b if isinstance(a, int) else a / b)


def is_number(value: Any) -> bool:
    """Say whether a value has a mean; truth values have none: see `indicator`."""
    return isinstance(value, int | float | Fraction) and not isinstance(value, bool)
