"""Attention along one axis at a time.

Shapes: B batch, `*grid` one to three token axes, D width, n tokens along an axis.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Self

import torch
from torch import Tensor, nn

from omniform.errors import ConfigError
from omniform.layout import AxisKind, Layout
from omniform.mixers.attention import Attention
from omniform.mixers.base import Cost, Mixer, Traits

__all__ = ["AxialAttention"]


class AxialAttention(Mixer):
    r"""Sum softmax attention along each axis, the other axes being batch.

    .. math::
        y = \sum_{r=1}^{R} \operatorname{Attention}_r(x \text{ along axis } r)

    The paper alternates axes from layer to layer; here one mixer holds an attention of its own per axis and sums them,
    so that every layer sees along all axes, and R layers reach every token. This is the unmasked form; positions come
    from the stem, as in the paper. Rank 1 is plain attention.

    Args:
        dim: width D.
        rank: number of axes.
        num_heads: heads of each attention; `default_heads(dim)` if None.

    Source: Ho et al., Axial Attention in Multidimensional Transformers, arXiv 1912.12180.
    """

    name = "axial-transformer"
    traits = Traits(
        ranks=(1, 2, 3), axes=("ordered", "set", "circular"), causal="never", padding="native", cost="subquadratic"
    )

    def __init__(self, dim: int, rank: int, *, num_heads: int | None = None, causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        if rank not in self.traits.ranks:
            raise ConfigError(f"expected a rank of 1 to 3, got {rank}")
        self.traits = replace(self.traits, ranks=(rank,), cost="quadratic" if rank == 1 else "subquadratic")
        self.along = nn.ModuleList(Attention(dim, num_heads=num_heads) for _ in range(rank))

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        return cls(dim, len(grid), causal=causal)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        return torch.stack([self._mix_axis(x, layout, axis) for axis in range(layout.rank)]).sum(0)  # (B, *grid, D)

    def _mix_axis(self, x: Tensor, layout: Layout, axis: int) -> Tensor:
        lines = x.movedim(axis + 1, -2)  # (B, *others, n, D)
        mask = None if layout.mask is None else layout.mask.movedim(axis + 1, -1).flatten(0, -2)  # (B * others, n)
        line = Layout((layout.grid[axis],), mask=mask)
        mixed = self.along[axis](lines.flatten(0, -3), line)
        return mixed.reshape(lines.shape).movedim(-2, axis + 1)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """For each axis of n tokens, L / n attentions over n tokens."""
        length = prod(grid)
        total = Cost(parameters=0, flops=0)
        for n, attention in zip(grid, self.along, strict=True):
            assert isinstance(attention, Attention)
            one = attention.cost((n,))
            total += Cost(parameters=one.parameters, flops=one.flops * (length // n))
        return total
