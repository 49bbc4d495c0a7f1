"""Down to coarse tokens and up again: the encoder-decoder of dense prediction.

Shapes: B batch, `*grid` the finest grid, D_i width of level i.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import cast

from torch import Tensor, nn

from omniform.backbones.features import Features
from omniform.backbones.pyramid import Down
from omniform.channel.base import Aux
from omniform.layers import Layer, LayerFactory, add_aux
from omniform.layout import Layout

__all__ = ["UNet", "Up"]


class Up(nn.Module):
    """Split every token into a block of finer ones, and crop to the grid they came from; undoes `Down`'s shapes.

    `(B, *ceil(grid / factors), D) -> (B, *grid, D')` by a linear map to `prod(factors)` tokens: a transposed
    convolution whose kernel is its stride.
    """

    def __init__(self, dim: int, out_dim: int, *, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.project = nn.Linear(dim, out_dim * prod(self.factors))

    def forward(self, x: Tensor, fine: Layout) -> Tensor:
        rank = len(self.factors)
        x = self.project(x).unflatten(-1, (*self.factors, -1))  # (B, *coarse, *factors, D')
        order = [axis for r in range(rank) for axis in (1 + r, 1 + rank + r)]
        x = x.permute(0, *order, 2 * rank + 1)
        x = x.reshape(x.shape[0], *(x.shape[1 + 2 * r] * x.shape[2 + 2 * r] for r in range(rank)), x.shape[-1])
        return x[(slice(None), *(slice(n) for n in fine.grid))]


class UNet(nn.Module):
    """Run layers at falling, then at rising resolution, each level joined with its own of the way down.

    The way up: `x_i = layers_i(up_i(x_{i+1}) + join_i(skip_i))`, both maps linear, which is what a linear map of the
    two concatenated would be (arXiv 1505.04597, whose convolutions are whatever the layers hold). Any grid is taken:
    `Down` pads, `Up` crops.

    Args:
        make_encoder: `(level, dim) -> Layer` on the way down, finest level 0.
        make_decoder: the same on the way up; the coarsest level is of the way down.
        dims: width of each level.
        depths: number of layers of each level on the way down.
        decoder_depths: number of layers of each level but the coarsest on the way up.
        factors: for each step down, by how much every axis shrinks.
    """

    def __init__(
        self,
        make_encoder: LayerFactory,
        make_decoder: LayerFactory,
        *,
        dims: Sequence[int],
        depths: Sequence[int],
        decoder_depths: Sequence[int],
        factors: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        steps = list(zip(pairwise(dims), factors, strict=True))
        self.encoder = _stages(make_encoder, dims, depths)
        self.decoder = _stages(make_decoder, dims[:-1], decoder_depths)
        self.downs = nn.ModuleList(Down(fine, coarse, factors=factor) for (fine, coarse), factor in steps)
        self.ups = nn.ModuleList(Up(coarse, fine, factors=factor) for (fine, coarse), factor in steps)
        self.joins = nn.ModuleList(nn.Linear(dim, dim, bias=False) for dim in dims[:-1])

    def forward(self, x: Tensor, layout: Layout, *, cond: Tensor | None = None) -> Features:
        """Return the levels of the way up, finest first; the last is the coarsest of the way down."""
        aux: Aux = {}
        skips: list[tuple[Tensor, Layout]] = []
        for level, layers in enumerate(self.encoder):
            if level:
                x, layout = self.downs[level - 1](x, layout)
            x, aux = _run(layers, x, layout, cond, aux)
            skips.append((x, layout))
        levels = [x]
        for level in reversed(range(len(self.decoder))):
            skip, layout = skips[level]
            x = self.ups[level](x, layout) + self.joins[level](skip)
            x, aux = _run(self.decoder[level], x, layout, cond, aux)
            levels.insert(0, x)
        return Features(tuple(levels), tuple(layout for _, layout in skips), aux)


def _stages(make_layer: LayerFactory, dims: Sequence[int], depths: Sequence[int]) -> list[list[Layer]]:
    stages = (
        nn.ModuleList(make_layer(level, dim) for _ in range(depth))
        for level, (dim, depth) in enumerate(zip(dims, depths, strict=True))
    )
    return cast("list[list[Layer]]", nn.ModuleList(stages))


def _run(layers: list[Layer], x: Tensor, layout: Layout, cond: Tensor | None, aux: Aux) -> tuple[Tensor, Aux]:
    for layer in layers:
        x, more = layer.forward_with_aux(x, layout, cond=cond)
        aux = add_aux(aux, more)
    return x, aux
