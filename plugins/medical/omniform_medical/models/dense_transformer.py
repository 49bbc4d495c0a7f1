"""A U-Net that bends the grid under its features on the way down, and unbends it on the way up.

Shapes: B batch, C channels, K classes, `*S` the patch of rank R, `*grid` a level, D its width, N voxels of the warped
level, M control points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omniform.backbones import Down, Up
from omniform.channel import Convolutions, Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.models.blocks import grids, strides
from omniform_medical.models.thin_plate import control_points, restore, spline_basis, voxel_places, warp
from omniform_medical.plan import Plan

__all__ = ["DenseTransformerNetwork", "Localization", "block_means"]

_POINTS = {2: 4, 3: 3}  # control points along each axis, by rank
_WIDEST = 4
_POOLED = 3
_LOCAL_HIDDEN = 20


class Localization(nn.Module):
    """Predict from features where each voxel of a grid is to be sampled: `(B, *grid, D) -> places (B, N, R)`.

    Means over 3 blocks along each axis go through a perceptron with tanh to displacements of the control points of a
    thin-plate spline, each at most half the way to its neighbour. The last map starts at zero: places start as the
    voxels themselves.
    """

    def __init__(self, dim: int, grid: Sequence[int]) -> None:
        super().__init__()
        rank = len(grid)
        points = control_points(_POINTS[rank], rank)
        voxels = voxel_places(grid, points)
        half = torch.tensor([(n - 1) / 2 for n in grid], dtype=points.dtype)  # voxels in a unit of the points' frame
        self.rank = rank
        for axis, n in enumerate(grid):
            self.register_buffer(f"means_{axis}", block_means(n, _POOLED), persistent=False)  # (P, n)
        self.hidden = nn.Linear(dim * _POOLED**rank, _LOCAL_HIDDEN)
        self.displace = nn.Linear(_LOCAL_HIDDEN, len(points) * rank)
        nn.init.zeros_(self.displace.weight)
        nn.init.zeros_(self.displace.bias)
        basis = spline_basis(points, voxels / half.clamp(min=0.5) - 1)
        self.register_buffer("basis", basis.float(), persistent=False)  # (N, M)
        self.register_buffer("voxels", voxels.float(), persistent=False)  # (N, R)
        self.register_buffer("reach", (half / (_POINTS[rank] - 1)).float(), persistent=False)  # (R,) voxels

    def forward(self, x: Tensor) -> Tensor:
        for axis in range(self.rank):  # ONNX has no adaptive pooling
            x = (self.get_buffer(f"means_{axis}") @ x.movedim(1 + axis, -2)).movedim(-2, 1 + axis)
        moved = torch.tanh(self.displace(torch.tanh(self.hidden(x.flatten(1)))))
        voxels = self.get_buffer("voxels")
        with torch.autocast(x.device.type, enabled=False):  # a place in bf16 would be off by voxels
            moved = moved.to(voxels.dtype).unflatten(-1, (-1, voxels.shape[1]))  # (B, M, R)
            return voxels + self.get_buffer("basis") @ moved * self.get_buffer("reach")


def block_means(size: int, blocks: int) -> Tensor:
    """Return the matrix `(blocks, size)` that takes means over blocks as even as may be, which overlap if need be.

    Block i is from `floor(i size / blocks)` to `ceil((i + 1) size / blocks)`, as in torch's adaptive pooling.
    """
    matrix = torch.zeros(blocks, size)
    for i in range(blocks):
        part = slice(i * size // blocks, -(-(i + 1) * size // blocks))
        matrix[i, part] = 1 / (part.stop - part.start)
    return matrix


class DenseTransformerNetwork(nn.Module):
    """Segment patches: `(B, C, *S) -> (logits (B, K, *S),)` (Dense Transformer Networks, arXiv 1705.08881).

    A U-Net of residual convolutions, whose coarsest level has the mixer, with a pair of dense transformer modules in
    its second level (its only one if there are no strides): on the way down features are sampled on a grid that a
    thin-plate spline bends, so that what a convolution sees has a learned shape and size; on the way up the level's
    output is put back to where it was sampled from. With no displacement, as at the start, it is the plain U-Net.

    The paper's modules are of rank 2, with 4 x 4 control points; in volumes (ours) there are 3 x 3 x 3. The paper's
    localisation looks at all values of the features; here it looks at 3 blocks along each axis, and displacements are
    bounded.

    Args:
        mixer: of the coarsest level.
        size: `dim` of the finest level (coarser ones 2 and 4 times as wide), `hidden` between two convolutions there
            (coarser ones in proportion), layers of a level.
    """

    def __init__(self, mixer: type[Mixer], size: Size, *, plan: Plan, channels: int, classes: int) -> None:
        super().__init__()
        rank = plan.rank
        factors, sizes = strides(plan), grids(plan)
        widths = [min(2**level, _WIDEST) for level in range(len(sizes))]
        dims = [size.dim * width for width in widths]
        self.bent = min(1, len(factors))

        def stage(level: int) -> nn.ModuleList:
            return nn.ModuleList(
                Layer(Branch(Convolutions(dims[level], size.hidden * widths[level], rank=rank)))
                for _ in range(size.depth)
            )

        convolution = nn.Conv3d if rank == 3 else nn.Conv2d
        self.stem = convolution(channels, size.dim, 3, padding=1)
        self.localization = Localization(dims[self.bent], sizes[self.bent])
        self.encoder = nn.ModuleList(stage(level) for level in range(len(factors)))
        self.bottom = nn.ModuleList(
            Layer(
                Branch(adapt(mixer, dims[-1], grid=sizes[-1]), nn.LayerNorm(dims[-1])),
                Branch(Mlp(dims[-1], size.hidden * widths[-1]), nn.LayerNorm(dims[-1])),
            )
            for _ in range(size.depth)
        )
        self.decoder = nn.ModuleList(stage(level) for level in range(len(factors)))
        steps = list(zip(dims[:-1], dims[1:], factors, strict=True))
        self.downs = nn.ModuleList(Down(fine, coarse, factors=factor) for fine, coarse, factor in steps)
        self.ups = nn.ModuleList(Up(coarse, fine, factors=factor) for fine, coarse, factor in steps)
        self.joins = nn.ModuleList(nn.Linear(2 * dim, dim) for dim in dims[:-1])
        self.head = nn.Sequential(nn.LayerNorm(size.dim), nn.Linear(size.dim, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = self.stem(x).movedim(1, -1)  # (B, *S, D)
        layout = Layout.of(tokens)
        places = tokens.new_empty(0)
        skips: list[tuple[Tensor, Layout]] = []
        for level, stage in enumerate([*self.encoder, self.bottom]):
            if level:
                tokens, layout = self.downs[level - 1](tokens, layout)
            if level == self.bent:
                places = self.localization(tokens)
                tokens = warp(tokens, places)
            tokens = _run(stage, tokens, layout)
            skips.append((tokens, layout))
        for level in reversed(range(len(skips))):
            skip, layout = skips[level]
            if level < len(self.decoder):
                tokens = self.joins[level](torch.cat([self.ups[level](tokens, layout), skip], dim=-1))
                tokens = _run(self.decoder[level], tokens, layout)
            if level == self.bent:
                tokens = restore(tokens, places)
        return (self.head(tokens).movedim(-1, 1),)


def _run(stage: nn.Module, tokens: Tensor, layout: Layout) -> Tensor:
    assert isinstance(stage, nn.ModuleList)
    for layer in stage:
        tokens = layer(tokens, layout)
    return tokens
