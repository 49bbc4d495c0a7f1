"""Layers at falling resolution: the hierarchical encoder of images, volumes and long signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from omniform.backbones.features import Features
from omniform.channel.base import Aux
from omniform.errors import IncompatibleError
from omniform.layers import Layer, LayerFactory, add_aux
from omniform.layout import Layout

__all__ = ["Down", "Pyramid"]


class Down(nn.Module):
    """Merge blocks of tokens into one token each (Swin's patch merging, arXiv 2103.14030).

    `(B, *grid, D) -> (B, *ceil(grid / factors), D')`: the block's tokens are concatenated, normalised and projected. A
    grid that the factors do not divide is padded with zeros, so that no size is refused; a block is valid if any of
    its tokens is, and lies at the mean of their coordinates.

    Args:
        factors: tokens of a block along each axis.
    """

    def __init__(self, dim: int, out_dim: int, *, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.norm = nn.LayerNorm(dim * prod(self.factors))
        self.project = nn.Linear(dim * prod(self.factors), out_dim, bias=False)

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        if layout.offsets is not None or layout.num_global:
            raise IncompatibleError("Down merges plain grids: unpack sequences and drop global tokens first")
        if layout.mask is None and layout.coords is None:
            blocks = self._blocks(x)  # (B, *coarse, K, D)
            return self.project(self.norm(blocks.flatten(-2))), replace(layout, grid=tuple(blocks.shape[1:-2]))
        valid = layout.valid(x.shape[0], x.device)[..., None]  # (B, *grid, 1)
        blocks = self._blocks(x.masked_fill(~valid, 0))
        weight = self._blocks(valid.to(x.dtype))  # (B, *coarse, K, 1)
        coarse = replace(
            layout,
            grid=tuple(blocks.shape[1:-2]),
            mask=None if layout.mask is None else weight.amax(dim=(-2, -1)) > 0,
            coords=None if layout.coords is None else self._mean(layout.coords.expand(*valid.shape[:-1], -1), weight),
        )
        return self.project(self.norm(blocks.flatten(-2))), coarse

    def _mean(self, coords: Tensor, weight: Tensor) -> Tensor:
        return (self._blocks(coords) * weight).sum(dim=-2) / weight.sum(dim=-2).clamp(min=1)

    def _blocks(self, x: Tensor) -> Tensor:
        """Return `(B, *coarse, prod(factors), D)`."""
        rank = x.ndim - 2
        grid = tuple(zip(x.shape[1:-1], self.factors, strict=True))
        if any(n % factor for n, factor in grid):
            x = F.pad(x, (0, 0, *(end for n, factor in reversed(grid) for end in (0, -n % factor))))
        shape = [part for n, factor in grid for part in (-(-n // factor), factor)]
        x = x.reshape(x.shape[0], *shape, x.shape[-1])
        outer, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
        return x.permute(0, *outer, *inner, 2 * rank + 1).flatten(rank + 1, 2 * rank)


class Pyramid(nn.Module):
    """Run stages of layers with a `Down` between them; return every stage's tokens, normalised.

    Args:
        make_layer: `(index, dim) -> Layer`, with the index counted through all stages.
        dims: width of each stage.
        depths: number of layers of each stage.
        rank: rank of the grid.
    """

    def __init__(self, make_layer: LayerFactory, *, dims: Sequence[int], depths: Sequence[int], rank: int) -> None:
        super().__init__()
        starts = [sum(depths[:stage]) for stage in range(len(depths))]
        stages = nn.ModuleList(
            nn.ModuleList(make_layer(start + i, dim) for i in range(depth))
            for dim, depth, start in zip(dims, depths, starts, strict=True)
        )
        self.stages = cast("list[list[Layer]]", stages)
        self.downs = nn.ModuleList(Down(a, b, factors=(2,) * rank) for a, b in pairwise(dims))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims)

    def forward(self, x: Tensor, layout: Layout, *, cond: Tensor | None = None) -> Features:
        levels: list[Tensor] = []
        layouts: list[Layout] = []
        aux: Aux = {}
        for stage, layers in enumerate(self.stages):
            if stage:
                x, layout = self.downs[stage - 1](x, layout)
            for layer in layers:
                x, more = layer.forward_with_aux(x, layout, cond=cond)
                aux = add_aux(aux, more)
            levels.append(self.norms[stage](x))
            layouts.append(layout)
        return Features(tuple(levels), tuple(layouts), aux)
