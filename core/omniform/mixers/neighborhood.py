"""Attention to the nearest tokens of a grid, or to those some steps apart.

Shapes: B batch, `*grid` one to three token axes, D width, H heads, d head width, L tokens.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from math import prod
from typing import Self

import torch
from torch import Tensor, nn

from omniform.errors import ConfigError
from omniform.layout import AxisKind, Layout
from omniform.mixers.attention import check_heads
from omniform.mixers.base import Cost, Mixer, Traits
from omniform_kernels.neighborhood_attention import neighborhood_attention

__all__ = ["NeighborhoodAttention"]

_SIZES = {1: 49, 2: 7, 3: 3}  # about as many keys in every rank as the paper's 7 x 7, and odd


class NeighborhoodAttention(Mixer):
    r"""Attend to the K nearest tokens along each axis, :math:`\delta` apart, with a learned bias per relative position.

    .. math::
        y_i = W_o \sum_{j \in \rho(i)}
            \operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt d} + b_{(j - i) / \delta}\right) v_j

    The neighbourhood :math:`\rho(i)` moves inward at borders, so that every token has K keys along each axis. The paper
    alternates layers of dilation one and of the largest that fits; `NeighborhoodAttention.dilation_at` gives that for
    layer `index`. A padded sample is run within the box, from the grid's origin, that holds its valid tokens: its
    borders are those it would have alone. Invalid tokens inside of the box get no weight. Boxes are read from the mask,
    which breaks the graph of `torch.compile`; without a mask it compiles whole.

    Args:
        dim: width D.
        kernel_size: K along each axis.
        dilation: :math:`\delta` along each axis; one if None.
        num_heads: H; `default_heads(dim)` if None.

    Raises:
        ConfigError: if the kernel is not of rank 1 to 3, the dilation does not fit it, or the heads do not divide the
            width.

    Source: Hassani and Shi, Dilated Neighborhood Attention Transformer, arXiv 2209.15001.
    """

    name = "dinat"
    traits = Traits(ranks=(1, 2, 3), axes=("ordered",), causal="never", padding="native", cost="linear", compiles=False)

    def __init__(
        self,
        dim: int,
        kernel_size: tuple[int, ...],
        *,
        dilation: tuple[int, ...] | None = None,
        num_heads: int | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__(dim, causal=causal)
        rank = len(kernel_size)
        dilation = (1,) * rank if dilation is None else dilation
        if rank not in self.traits.ranks or min(kernel_size) < 1:
            raise ConfigError(f"expected one to three positive kernel sizes, got {kernel_size}")
        if len(dilation) != rank or min(dilation) < 1:
            raise ConfigError(f"expected {rank} positive dilations, one per axis, got {dilation}")
        self.traits = replace(self.traits, ranks=(rank,))
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.num_heads, _ = check_heads(dim, num_heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.empty(self.num_heads, *(2 * size - 1 for size in kernel_size)))
        for weight in (self.qkv.weight, self.out.weight, self.table):
            nn.init.trunc_normal_(weight, std=0.02)
        for linear in (self.qkv, self.out):
            nn.init.zeros_(linear.bias)

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        """Build it undilated, with 49, 7 x 7 or 3 x 3 x 3 neighbours, or the whole of an axis that has fewer."""
        return cls(dim, tuple(min(n | 1, _SIZES[len(grid)]) for n in grid), causal=causal)

    @staticmethod
    def dilation_at(index: int, kernel_size: tuple[int, ...], grid: tuple[int, ...]) -> tuple[int, ...]:
        """Return the paper's dilation for layer `index`: in odd layers as far as the grid allows, otherwise one."""
        return tuple(max(1, n // size) if index % 2 else 1 for size, n in zip(kernel_size, grid, strict=True))

    def describe(self) -> str:
        size = "x".join(map(str, self.kernel_size))
        dilated = f", dilated by {'x'.join(map(str, self.dilation))}" if max(self.dilation) > 1 else ""
        return f"{self.name} {size}{dilated}"

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        if layout.mask is None:
            return self._attend(x, None)
        y = torch.zeros_like(x)
        for box, rows in _group_boxes(layout.mask).items():
            inside = (rows, *(slice(n) for n in box))
            mask = layout.mask[inside]
            y[inside] = self._attend(x[inside], None if mask.all() else mask).to(y.dtype)
        return y  # (B, *grid, D)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Projections 8 L D^2, scores and sums 4 D for each pair of neighbours."""
        pairs = prod(_count_pairs(*axis) for axis in zip(grid, self.kernel_size, self.dilation, strict=True))
        parameters = 4 * self.dim**2 + 4 * self.dim + self.table.numel()
        return Cost(parameters=parameters, flops=8 * prod(grid) * self.dim**2 + 4 * pairs * self.dim)

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)  # (B, *grid, H, d) each
        y = neighborhood_attention(
            q, k, v, kernel_size=self.kernel_size, dilation=self.dilation, bias=self.table, mask=mask
        )
        return self.out(y.flatten(-2))  # (B, *grid, D)


def _group_boxes(mask: Tensor) -> dict[tuple[int, ...], list[int]]:
    """Return, for each box from the origin that holds just the valid tokens of a sample, the samples of that box."""
    extents = []
    for axis in range(1, mask.ndim):
        occupied = mask.movedim(axis, 1).flatten(2).any(-1) if mask.ndim > 2 else mask  # (B, n)
        extents.append((occupied * torch.arange(1, mask.shape[axis] + 1, device=mask.device)).amax(1))
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, box in enumerate(torch.stack(extents, dim=1).tolist()):
        if all(box):
            groups[tuple(box)].append(row)
    return groups


def _count_pairs(n: int, kernel_size: int, dilation: int) -> int:
    """Count the pairs of neighbours along an axis of n tokens: within each residue class, that many keys each."""
    classes = (len(range(start, n, dilation)) for start in range(min(n, dilation)))
    return sum(size * min(size, kernel_size) for size in classes)
