"""Parts that convolutional networks of planes and volumes share.

Shapes: B batch, C channels, `*S` two or three spatial axes, D width of tokens.
"""

from __future__ import annotations

from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.mixers.scan import Scan
from omniform_medical.plan import Plan

__all__ = [
    "ChannelNorm",
    "DepthwiseConvolution",
    "ResidualBlock",
    "channels_first",
    "channels_last",
    "convolution",
    "flat_mixer",
    "grids",
    "instance_norm",
    "max_pool",
    "strides",
    "upsample",
    "widths",
]

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_MODES = {2: "bilinear", 3: "trilinear"}
_BLOCK = 16  # channels that a depthwise convolution on a CPU handles as one dense group


def strides(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """Return the strides of every halving along the axes that the network sees."""
    return tuple(stride[: plan.rank] for stride in plan.strides)


def grids(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """Return the sizes of all resolutions, finest first; a size that the stride does not divide is rounded up."""
    sizes = [plan.patch[: plan.rank]]
    for stride in strides(plan):
        sizes.append(tuple(ceil(n / s) for n, s in zip(sizes[-1], stride, strict=True)))
    return tuple(sizes)


def widths(width: int, levels: int, *, at: int) -> tuple[int, ...]:
    """Return the channels of every resolution: `width` at resolution `at`, doubled at each halving up to the third.

    Halves are rounded down. The parameter solver moves `width` in steps of 8: counted at a coarser resolution, these
    are steps fine enough for networks whose parameters lie where channels are many.
    """
    return tuple(max(1, width * 2 ** min(level, 3) // 2**at) for level in range(levels))


def convolution(
    rank: int, channels: int, out: int, kernel: int = 3, *, stride: tuple[int, ...] | int = 1, bias: bool = True
) -> nn.Module:
    """Make a convolution that keeps the size, or divides it by the stride and rounds up."""
    return _CONVOLUTIONS[rank](channels, out, kernel, stride=stride, padding=kernel // 2, bias=bias)


def instance_norm(rank: int, channels: int) -> nn.Module:
    """Make an affine instance normalisation that a single voxel passes: a group norm with a channel a group."""
    return nn.GroupNorm(channels, channels)


def max_pool(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Take the largest value of each block; an incomplete block at the end counts."""
    pool = F.max_pool2d if len(stride) == 2 else F.max_pool3d
    return pool(x, stride, stride, ceil_mode=True)


def upsample(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """Interpolate linearly along every axis to a size."""
    return x if tuple(x.shape[2:]) == tuple(size) else F.interpolate(x, tuple(size), mode=_MODES[len(size)])


def channels_last(x: Tensor) -> Tensor:
    """`(B, C, *S) -> (B, *S, C)`."""
    return x.movedim(1, -1)


def channels_first(x: Tensor) -> Tensor:
    """`(B, *S, C) -> (B, C, *S)`, contiguous, which convolutions and norms want."""
    return x.movedim(-1, 1).contiguous()


def flat_mixer(mixer: type[Mixer], dim: int, grid: tuple[int, ...]) -> Mixer:
    """Make a mixer of a grid's tokens; one that is always causal scans them once, in raster order, as the papers do.

    `adapt` would scan such a mixer in four directions, at four times the weights and the time. Other mixers are
    adapted as everywhere.
    """
    if mixer.traits.causal != "always":
        return adapt(mixer, dim, grid=grid, axes=("ordered",) * len(grid))

    def make(width: int) -> Mixer:
        return mixer.make(width, grid=(prod(grid),), axes=("ordered",), causal=True)

    return Scan(dim, make, orders=("raster",))


class ChannelNorm(nn.LayerNorm):
    """Normalise every voxel over its channels: `(B, C, *S) -> (B, C, *S)`."""

    def forward(self, input: Tensor) -> Tensor:
        return channels_first(super().forward(channels_last(input)))


class DepthwiseConvolution(nn.Module):
    """Convolve every channel with a kernel of its own: `(B, C, *S) -> (B, C, *S)`.

    On a CPU one depthwise convolution of volumes takes two to seven times longer than a dense one of 16 channels
    (forward and backward of 4 x 16 x 40x56x40 took 0.37 s beside 0.05 s in bfloat16). There, blocks of up to 16
    channels run as dense groups whose kernels are zero off the diagonal; the result is the same.
    """

    def __init__(self, rank: int, channels: int, kernel: int = 3, *, bias: bool = False) -> None:
        super().__init__()
        self.rank = rank
        self.block = max(n for n in range(1, _BLOCK + 1) if channels % n == 0)
        depthwise = _CONVOLUTIONS[rank](channels, channels, kernel, groups=channels, bias=bias)
        self.weight = depthwise.weight  # (C, 1, *kernel)
        self.bias = depthwise.bias

    def forward(self, x: Tensor) -> Tensor:
        convolve = F.conv2d if self.rank == 2 else F.conv3d
        channels, padding = len(self.weight), self.weight.shape[-1] // 2
        if x.device.type != "cpu":
            return convolve(x, self.weight, self.bias, padding=padding, groups=channels)
        eye = torch.eye(self.block, dtype=self.weight.dtype).repeat(channels // self.block, 1)  # (C, block)
        weight = self.weight * eye.reshape(channels, self.block, *(1,) * self.rank)  # (C, block, *kernel)
        return convolve(x, weight, self.bias, padding=padding, groups=channels // self.block)


class ResidualBlock(nn.Module):
    """Add two convolutions, normalised, to a projection of the input: `(B, C, *S) -> (B, C', *ceil(S / stride))`.

    `y = f(n(W2 f(n(W1 x))) + P x)` with instance norm n and leaky rectifier f; P is a 1-voxel convolution, or nothing
    where channels and size stay (arXiv 1512.03385, in nnU-Net's form).

    Args:
        hidden: channels between the two convolutions.
    """

    def __init__(self, rank: int, channels: int, hidden: int, out: int, *, stride: tuple[int, ...] | int = 1) -> None:
        super().__init__()
        self.conv1 = convolution(rank, channels, hidden, stride=stride, bias=False)
        self.norm1 = instance_norm(rank, hidden)
        self.conv2 = convolution(rank, hidden, out, bias=False)
        self.norm2 = instance_norm(rank, out)
        stays = channels == out and set((stride,) if isinstance(stride, int) else stride) == {1}
        self.project = nn.Identity() if stays else convolution(rank, channels, out, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)  # (B, hidden, *S)
        return F.leaky_relu(self.norm2(self.conv2(y)) + self.project(x), 0.01)  # (B, out, *S)
