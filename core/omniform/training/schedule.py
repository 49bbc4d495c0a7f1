"""When the learning rate is what, and when to validate, both by the share of the budget that has elapsed."""

from __future__ import annotations

import math

__all__ = ["crosses", "rate_factor"]

_FLOOR = 0.01


def rate_factor(share: float, *, warmup: float) -> float:
    """Return the learning rate as a part of its peak: a linear rise, then half a cosine down to 0.

    `f(u) = max(u / w, 0.01)` for `u < w`, then `(1 + cos(pi (u - w) / (1 - w))) / 2`, with `u` the elapsed share and
    `w` the warm-up (cosine: arXiv 1608.03983). The rise starts above 0, lest the first step be wasted.
    """
    share = min(max(share, 0.0), 1.0)
    if share < warmup:
        return max(share / warmup, _FLOOR)
    return 0.5 * (1.0 + math.cos(math.pi * (share - warmup) / (1.0 - warmup)))


def crosses(before: float, after: float, *, every: float) -> bool:
    """Tell whether a multiple of `every` lies in `(before, after]`."""
    tolerance = 1e-9  # 3 / 10 and 3 * 0.1 are the same share
    return math.floor(after / every + tolerance) > math.floor(before / every + tolerance)
