"""Numbers as people read them in a table: three significant digits, never an exponent for everyday sizes."""

from __future__ import annotations

from math import floor, isfinite, log10

from omniform.compare.bootstrap import Difference

__all__ = ["MISSING", "count", "difference", "level", "score", "span"]

MISSING = "–"  # noqa: RUF001


def level(value: float | None) -> str:
    """Format a score with three significant digits: 0.370, 12.4, 1530."""
    if value is None or not isfinite(value):
        return MISSING
    return f"{value:.{_decimals(value, 3)}f}" if value == 0 or 1e-6 <= abs(value) < 1e7 else f"{value:.2e}"


def score(mean: float | None, sd: float | None = None) -> str:
    """Format a mean with its spread over seeds, both to the mean's precision: 0.381 ± 0.002."""
    text = level(mean)
    if mean is None or sd is None or "e" in text:
        return text
    return f"{text} ± {sd:.{len(text.partition('.')[2])}f}"


def difference(value: Difference) -> str:
    """Format a difference and its interval, two digits of the interval's width: +0.011 [+0.004, +0.018]."""
    if value.low is None or value.high is None:
        return f"{value.value:+.{_decimals(value.value, 3)}f}"
    width = value.high - value.low
    decimals = _decimals(width, 2) if width > 1e-6 * abs(value.value) else _decimals(value.value, 3)
    return f"{value.value:+.{decimals}f} [{value.low:+.{decimals}f}, {value.high:+.{decimals}f}]"


def count(value: int | None) -> str:
    """Format a count: 640, 198k, 1.25M."""
    if value is None:
        return MISSING
    if value < 1000:
        return str(value)
    return f"{value / 1e3:.0f}k" if value < 999_500 else f"{value / 1e6:.2f}M"


def span(seconds: float | None) -> str:
    """Format a duration: 0.4 s, 21 s, 3 min 20 s."""
    if seconds is None:
        return MISSING
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - floor(log10(abs(value)))) if value and isfinite(value) else digits
