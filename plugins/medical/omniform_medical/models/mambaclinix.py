"""MambaClinix: a U-net with gated convolutions where voxels are many and a sequence mixer where they are few.

Shapes: B batch, C channels, `*S` two or three spatial axes, D width, K classes.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.layout import Layout
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.models.blocks import (
    ChannelNorm,
    ResidualBlock,
    channels_first,
    channels_last,
    convolution,
    flat_mixer,
    grids,
    instance_norm,
    strides,
    widths,
)
from omniform_medical.models.gated_convolution import GatedBlock
from omniform_medical.plan import Plan

__all__ = ["MambaClinix", "MixerLayer"]


class MixerLayer(nn.Module):
    """Mix the voxels as one sequence: `x + W LN(mixer(LN(x)))`, `(B, D, *S) -> (B, D, *S)`."""

    def __init__(self, mixer: Mixer, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens = channels_last(x)  # (B, *S, D)
        mixed = self.mixer(self.norm1(tokens), Layout.of(tokens))
        return x + channels_first(self.project(self.norm2(mixed)))


class Merge(nn.Module):
    """Bring coarse features to the fine grid and merge the skip: `(B, D', *coarse), (B, D, *fine) -> (B, D, *fine)`.

    The coarse side is repeated and projected, the skip passes a residual block, and a third takes both together.
    """

    def __init__(self, rank: int, coarse: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.project = convolution(rank, coarse, dim, 1)
        self.skip = ResidualBlock(rank, dim, hidden, dim)
        self.merge = ResidualBlock(rank, 2 * dim, hidden, dim)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(self.project(x), skip.shape[2:])  # the nearest, projected before it is repeated: the same
        return self.merge(torch.cat([x, self.skip(skip)], dim=1))


class MambaClinix(nn.Module):
    """Segment with a mixer for each depth of the pyramid (arXiv 2409.12533).

    `(B, C, *S) -> ((B, K, *S), (B, K, *S / 2), ...)`: logits at every resolution but the coarsest, finest first, for
    deep supervision. Every stage of the encoder begins with residual blocks, the first of which shrinks the grid by the
    plan's stride. Behind them the finer half of the stages (the middle one included) has a block of gated convolutions,
    of order 2 at the finest resolution and one more at each halving; the coarser half has the mixer on the flattened
    voxels: Mamba in the paper, scanned once in raster order. Decoder: nearest upsampling and residual blocks.

    `depth` is the residual blocks of a stage with gated convolutions (the paper's is 2); stages with the mixer have
    one, as there. `dim` is the width at the third resolution (the finest has a quarter), `hidden` the width between the
    two convolutions of every block there (the paper's is `dim`). Convolutions begin by He's rule, as in nnU-Net and the
    public code: from the default, thin vessels were not found at all on some seeds.
    """

    def __init__(self, mixer: type[Mixer], size: Size, *, plan: Plan, channels: int, classes: int) -> None:
        super().__init__()
        rank, sizes = plan.rank, grids(plan)
        dims, hidden = widths(size.dim, len(sizes), at=2), widths(size.hidden, len(sizes), at=2)
        gated = ceil(len(sizes) / 2)
        one = (1,) * rank

        def make_stage(level: int) -> nn.Sequential:
            before, dim, wide = dims[max(level - 1, 0)], dims[level], hidden[level]
            stride = strides(plan)[level - 1] if level else one
            more = size.depth - 1 if level < gated else 0
            return nn.Sequential(
                ResidualBlock(rank, before, wide, dim, stride=stride),
                *(ResidualBlock(rank, dim, wide, dim) for _ in range(more)),
                ChannelNorm(dim) if level == gated - 1 else nn.Identity(),
                GatedBlock(rank, dim, wide, order=level + 2)
                if level < gated
                else MixerLayer(flat_mixer(mixer, dim, sizes[level]), dim),
            )

        self.stem = nn.Sequential(
            convolution(rank, channels, dims[0]), instance_norm(rank, dims[0]), nn.LeakyReLU(0.01)
        )
        levels = range(len(sizes))
        self.stages = nn.ModuleList(make_stage(level) for level in levels)
        self.bottom = ResidualBlock(rank, dims[-1], hidden[-1], dims[-1])
        self.merge = nn.ModuleList(Merge(rank, dims[i + 1], dims[i], hidden[i]) for i in levels[:-1])
        self.head = nn.ModuleList(convolution(rank, dims[i], classes, 1) for i in levels[: max(1, len(levels) - 1)])
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x, skips = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        features = [self.bottom(skips.pop())]  # coarsest first
        for merge, skip in zip(reversed(self.merge), reversed(skips), strict=True):
            features.append(merge(features[-1], skip))
        return tuple(head(feature) for head, feature in zip(self.head, reversed(features), strict=False))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
