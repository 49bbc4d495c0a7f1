"""The definition of the long convolution: the sum over all filter taps, each a shifted copy of the input."""

from itertools import product

import torch
from torch import Tensor

__all__ = ["direct"]


def direct(x: Tensor, filters: Tensor, origin: tuple[int, ...]) -> Tensor:
    """Convolve x (B, *grid, C) with filters (*taps, C) whose tap at `origin` has no shift."""
    grid = x.shape[1:-1]
    y = torch.zeros_like(x)
    for tap in product(*(range(size) for size in filters.shape[:-1])):
        shift = [t - o for t, o in zip(tap, origin, strict=True)]
        if any(abs(s) >= n for s, n in zip(shift, grid, strict=True)):
            continue
        to = (slice(None), *(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, grid, strict=True)))
        source = (slice(None), *(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, grid, strict=True)))
        moved = torch.zeros_like(x)
        moved[to] = x[source]
        y = y + moved * filters[tap]
    return y
