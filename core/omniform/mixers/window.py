"""Attention within windows of a grid, shifted in every other layer.

Shapes: B batch, `*grid` one to three token axes, D width, H heads, d head width, W windows, N tokens in a window,
R rank.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from math import ceil, prod
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniform.errors import ConfigError
from omniform.layout import AxisKind, Layout
from omniform.mixers.attention import check_heads
from omniform.mixers.base import Cost, Mixer, Traits

__all__ = ["WindowAttention"]

_SIZES = {1: 49, 2: 7, 3: 4}  # about as many keys in every rank as the paper's 7 x 7


class WindowAttention(Mixer):
    r"""Attend within each window of a grid, with a learned bias per relative position.

    .. math::
        y_i = W_o \sum_{j \in w(i)} \operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt d} + b_{j - i}\right) v_j

    Windows tile each axis from its start, the last one may be cut off. A shift s moves them: the first window along an
    axis then holds s tokens. It is done by rolling the grid round, and masking what only the roll made neighbours. The
    paper alternates layers of shift zero and half a window, and leaves out the shift along an axis that one window
    covers; `WindowAttention.shift_at` gives that for layer `index`. The shift given here is always obeyed, so that who
    sees whom does not depend on the length of the grid.

    Args:
        dim: width D.
        window: tokens along each axis of a window.
        shift: tokens by which the windows are moved along each axis; none if None.
        num_heads: H; `default_heads(dim)` if None.

    Raises:
        ConfigError: if the window is not of rank 1 to 3, the shift does not lie within it, or the heads do not divide
            the width.

    Source: Liu et al., Swin Transformer, arXiv 2103.14030.
    """

    name = "window"
    traits = Traits(ranks=(1, 2, 3), axes=("ordered",), causal="never", padding="native", cost="linear")

    def __init__(
        self,
        dim: int,
        window: tuple[int, ...],
        *,
        shift: tuple[int, ...] | None = None,
        num_heads: int | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__(dim, causal=causal)
        rank = len(window)
        shift = (0,) * rank if shift is None else shift
        if rank not in self.traits.ranks or min(window) < 1:
            raise ConfigError(f"expected one to three positive window sizes, got {window}")
        if len(shift) != rank or any(not 0 <= s < size for s, size in zip(shift, window, strict=True)):
            raise ConfigError(f"expected a shift within the window {window}, got {shift}")
        self.traits = replace(self.traits, ranks=(rank,))
        self.window = window
        self.shift = shift
        self.num_heads, _ = check_heads(dim, num_heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.empty(self.num_heads, *(2 * size - 1 for size in window)))
        for weight in (self.qkv.weight, self.out.weight, self.table):
            nn.init.trunc_normal_(weight, std=0.02)
        for linear in (self.qkv, self.out):
            nn.init.zeros_(linear.bias)

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        """Build it unshifted, with windows of 49, 7 x 7 or 4 x 4 x 4 tokens, or of the grid where that is smaller."""
        return cls(dim, tuple(min(n, _SIZES[len(grid)]) for n in grid), causal=causal)

    @staticmethod
    def shift_at(index: int, window: tuple[int, ...], grid: tuple[int, ...]) -> tuple[int, ...]:
        """Return the paper's shift for layer `index`: half a window in odd layers, along axes longer than it."""
        return tuple(size // 2 if index % 2 and n > size else 0 for size, n in zip(window, grid, strict=True))

    def describe(self) -> str:
        size = "x".join(map(str, self.window))
        return f"{self.name} {size}" + (f", shifted by {'x'.join(map(str, self.shift))}" if any(self.shift) else "")

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        sizes = self._sizes(layout.grid)
        qkv = self._split(self.qkv(x), sizes).unflatten(-1, (3, self.num_heads, -1))  # (B, W, N, 3, H, d)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # (B, W, H, N, d) each
        scores = q @ k.mT * q.shape[-1] ** -0.5 + self._relative(sizes)  # (B, W, H, N, N)
        visible = self._visible(x, layout, sizes)
        if visible is not None:
            scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
        y = scores.softmax(-1).to(v.dtype) @ v
        return self.out(self._join(y.transpose(2, 3).flatten(-2), sizes, layout.grid))  # (B, *grid, D)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Projections 8 L D^2, scores and sums 4 N D for each token of the windows, cut-off ones filled up."""
        sizes = self._sizes(grid)
        filled = prod(ceil(n / size) * size for n, size in zip(grid, sizes, strict=True))
        parameters = 4 * self.dim**2 + 4 * self.dim + self.table.numel()
        return Cost(parameters=parameters, flops=8 * prod(grid) * self.dim**2 + 4 * filled * prod(sizes) * self.dim)

    def _sizes(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """Return the window's sizes, less what an unshifted window would have to be filled up with."""
        axes = zip(self.window, self.shift, grid, strict=True)
        return tuple(size if shift else min(size, n) for size, shift, n in axes)

    def _split(self, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Pad, roll and cut `(B, *grid, C)` into windows `(B, W, N, C)`."""
        rank, grid = len(sizes), x.shape[1:-1]
        pads = [(0, -n % size) for n, size in zip(grid, sizes, strict=True)]
        x = F.pad(x, (0, 0, *chain.from_iterable(reversed(pads))))
        if any(self.shift):
            x = x.roll([-s for s in self.shift], tuple(range(1, rank + 1)))
        for axis, size in enumerate(sizes):
            x = x.unflatten(2 * axis + 1, (-1, size))  # (B, count, size, count, size, ..., C)
        counts, within = range(1, 2 * rank + 1, 2), range(2, 2 * rank + 1, 2)
        x = x.permute(0, *counts, *within, -1)
        return x.flatten(rank + 1, 2 * rank).flatten(1, rank)

    def _join(self, x: Tensor, sizes: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
        """Undo `_split`: windows `(B, W, N, C)` to `(B, *grid, C)`."""
        rank = len(sizes)
        counts = tuple(ceil(n / size) for n, size in zip(grid, sizes, strict=True))
        x = x.unflatten(2, sizes).unflatten(1, counts)
        x = x.permute(0, *chain.from_iterable((1 + axis, 1 + rank + axis) for axis in range(rank)), -1)
        for axis in range(rank):
            x = x.flatten(axis + 1, axis + 2)  # (B, *grid filled up, C)
        if any(self.shift):
            x = x.roll(self.shift, tuple(range(1, rank + 1)))
        return x[(slice(None), *(slice(n) for n in grid))]

    def _relative(self, sizes: tuple[int, ...]) -> Tensor:
        """Look up the bias `(H, N, N)` of key j relative to query i."""
        index = []
        for axis, size in enumerate(sizes):
            place = torch.arange(size, device=self.table.device)
            shape = [1] * (2 * len(sizes))
            shape[axis] = shape[len(sizes) + axis] = size
            index.append((place - place[:, None] + self.window[axis] - 1).view(shape))
        return self.table[(slice(None), *index)].flatten(1, len(sizes)).flatten(2)

    def _visible(self, x: Tensor, layout: Layout, sizes: tuple[int, ...]) -> Tensor | None:
        """Return which keys a query may see, `(B or 1, W, 1, N or 1, N)`, or None if all in its window."""
        grid = layout.grid
        visible = None
        if layout.mask is not None or any(n % size for n, size in zip(grid, sizes, strict=True)):
            mask = layout.valid(1, x.device)
            visible = self._split(mask[..., None], sizes)[..., 0][:, :, None, None]
        if any(self.shift):
            region = torch.zeros(1, *grid, 1, dtype=torch.int64, device=x.device)
            for axis, shift in enumerate(self.shift):
                behind = torch.arange(grid[axis], device=x.device) >= shift
                region = 2 * region + behind.view(-1, *(1,) * (len(grid) - axis))
            region = self._split(region, sizes)[..., 0]  # (1, W, N)
            together = (region[..., None] == region[..., None, :])[:, :, None]
            visible = together if visible is None else visible & together
        return visible
