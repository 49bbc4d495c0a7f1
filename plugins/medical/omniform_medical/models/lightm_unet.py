"""LightM-UNet: a U-net whose encoder mixes voxels by a state space, with a depthwise-separable decoder.

Shapes: B batch, C channels, `*S` two or three spatial axes, N voxels, D width, K classes.
"""

from __future__ import annotations

from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.layout import Layout
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.models.blocks import (
    DepthwiseConvolution,
    channels_first,
    channels_last,
    convolution,
    flat_mixer,
    grids,
    max_pool,
    strides,
    upsample,
    widths,
)
from omniform_medical.plan import Plan

__all__ = ["LightMUNet", "ResidualVisionMambaLayer"]

_BLOCKS = (1, 2, 2, 4)  # of the encoder's resolutions in the paper; deeper ones take the last


class ResidualVisionMambaLayer(nn.Module):
    r"""Mix the voxels as one sequence, and map their channels: `(B, D, *S) -> (B, D', *S)`.

    .. math:: y = P(\operatorname{LN}(\operatorname{mixer}(\operatorname{LN}(x)) + s \odot x))

    with a learnable scalar s. The paper's P is a linear map; here it is a perceptron of one hidden layer, whose width
    is what the parameter solver is free to choose.
    """

    def __init__(self, mixer: Mixer, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mixer = mixer
        self.scale = nn.Parameter(torch.ones(()))
        self.norm2 = nn.LayerNorm(dim)
        self.project = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor) -> Tensor:
        tokens = channels_last(x)  # (B, *S, D)
        mixed = self.mixer(self.norm1(tokens), Layout.of(tokens)) + self.scale * tokens
        return channels_first(self.project(self.norm2(mixed)))  # (B, D', *S)


class MambaBlock(nn.Module):
    """Two layers, each behind a norm and a rectifier, around which the input passes: `(B, D, *S) -> (B, D, *S)`."""

    def __init__(self, mixer: type[Mixer], dim: int, hidden: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_group_norm(dim) for _ in range(2))
        self.layers = nn.ModuleList(
            ResidualVisionMambaLayer(flat_mixer(mixer, dim, grid), dim, hidden, dim) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y = layer(F.relu(norm(y)))
        return x + y


class Shrink(nn.Module):
    """Widen the channels by a layer, and keep the maximum of each block of voxels: `(B, D, *S) -> (B, D', *coarse)`.

    The layer sees the fine grid, as in the paper, or the coarse one if the maximum comes first.
    """

    def __init__(self, layer: ResidualVisionMambaLayer, stride: tuple[int, ...], *, pool_first: bool) -> None:
        super().__init__()
        self.layer = layer
        self.stride = stride
        self.pool_first = pool_first

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(max_pool(x, self.stride)) if self.pool_first else max_pool(self.layer(x), self.stride)


class Grow(nn.Module):
    """Bring the coarse features to the fine grid, add the skip, and refine: depthwise, then pointwise.

    `(B, D', *coarse), (B, D, *fine) -> (B, D, *fine)`: `x = up(W x) + skip`, then
    `relu(n(conv(relu(n(x))) + s x))` with a learnable scalar s.
    """

    def __init__(self, rank: int, coarse: int, dim: int) -> None:
        super().__init__()
        self.reduce = convolution(rank, coarse, dim, 1, bias=False)
        self.norm1 = _group_norm(dim)
        self.depthwise = DepthwiseConvolution(rank, dim)
        self.pointwise = convolution(rank, dim, dim, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(()))
        self.norm2 = _group_norm(dim)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = upsample(self.reduce(x), skip.shape[2:]) + skip
        y = self.pointwise(self.depthwise(F.relu(self.norm1(x)))) + self.scale * x
        return F.relu(self.norm2(y))


class LightMUNet(nn.Module):
    """Segment with residual layers of a sequence mixer as encoder and a light convolutional decoder (arXiv 2403.05246).

    `(B, C, *S) -> ((B, K, *S),)`. A depthwise-separable stem, then at every resolution blocks of two layers; between
    resolutions one more layer widens the channels and max-pooling shrinks the grid by the plan's strides. The decoder
    adds the skips. With Mamba in the slot, voxels are scanned once in raster order, as in the paper; a mixer whose cost
    is quadratic in tokens is out of place here, for the first layers see every voxel.

    With `depth` 2 the resolutions have the paper's 1, 2, 2, 4 blocks (deeper ones 4), with others in proportion. `dim`
    is the width at the third resolution (the finest has a quarter), `hidden` the hidden width of the layers'
    projections at the second. The depthwise kernel of one voxel in the paper's head is folded into its pointwise map.
    In the public code one norm serves both places of a layer; here, as in the paper's equations, each has its own.

    Args:
        finest: the first resolution whose voxels are mixed: 0, the paper's, or a coarser one, finer ones being left to
            the stem and the decoder. On a CPU the finest resolution takes most of the time: a step with 4 patches of
            40x56x40 and 700k parameters took 3.3 s from 0 and 1.2 s from 1 (one thread, float32).
    """

    def __init__(
        self, mixer: type[Mixer], size: Size, *, plan: Plan, channels: int, classes: int, finest: int = 0
    ) -> None:
        super().__init__()
        sizes = grids(plan)
        levels = range(len(sizes))
        dims, hidden = widths(size.dim, len(sizes), at=2), widths(size.hidden, len(sizes), at=1)

        def make_stage(level: int) -> nn.Sequential:
            blocks = _num_blocks(level, size.depth) if level >= finest else 0
            return nn.Sequential(*(MambaBlock(mixer, dims[level], hidden[level], sizes[level]) for _ in range(blocks)))

        def make_shrink(level: int) -> Shrink:
            pool_first = level < finest
            mix = flat_mixer(mixer, dims[level], sizes[level + 1 if pool_first else level])
            layer = ResidualVisionMambaLayer(mix, dims[level], hidden[level], dims[level + 1])
            return Shrink(layer, strides(plan)[level], pool_first=pool_first)

        self.stem = nn.Sequential(
            DepthwiseConvolution(plan.rank, channels), convolution(plan.rank, channels, dims[0], 1, bias=False)
        )
        self.stages = nn.ModuleList(make_stage(level) for level in levels)
        self.shrink = nn.ModuleList(make_shrink(level) for level in levels[:-1])
        self.grow = nn.ModuleList(Grow(plan.rank, coarse, fine) for fine, coarse in pairwise(dims))
        self.head = nn.Sequential(_group_norm(dims[0]), nn.ReLU(), convolution(plan.rank, dims[0], classes, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stages[0](self.stem(x))
        skips = []
        for shrink, stage in zip(self.shrink, self.stages[1:], strict=True):
            skips.append(x)
            x = stage(shrink(x))
        for grow, skip in zip(reversed(self.grow), reversed(skips), strict=True):
            x = grow(x, skip)
        return (self.head(x),)  # (B, K, *S)


def _num_blocks(level: int, depth: int) -> int:
    """Return the blocks of a resolution: the paper's at depth 2, in proportion otherwise, at least one."""
    return max(1, _BLOCKS[min(level, len(_BLOCKS) - 1)] * depth // 2)


def _group_norm(channels: int) -> nn.GroupNorm:
    """Return the paper's norm of 8 groups, or of as many as divide the channels."""
    return nn.GroupNorm(gcd(8, channels), channels)
