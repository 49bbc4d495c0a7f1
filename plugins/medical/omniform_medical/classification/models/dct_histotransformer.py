"""Attention among low frequencies beside convolutions among pixels.

Shapes: B batch, C channels, H x W pixels or places, h x w kept frequencies, D width, K classes.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.classification.models.classifier import Classifier, PixelStem, stem_stride
from omniform_medical.classification.models.cosine import CosineTransform

__all__ = ["DCTHistoTransformer", "DCTMixing", "DuoBlock", "MobileConv"]

_MOST = 32  # places each way at the first stage
_STAGES = 3


class DCTHistoTransformer(Classifier):
    """Classify a picture with parallel pathways over frequencies and over pixels (arXiv 2410.19166).

    `(B, C, H, W) -> (B, K)`: at most 32 x 32 places; three stages of `size.depth` blocks at halved resolution and
    doubled width; the mean over the coarsest map; a linear head. The paper's idea is the two
    pathways, attention among kept frequencies and MobileConv; widths and stages are ours, as is that the pathways are
    joined by a 1 x 1 convolution and added to the block's input. Both have `size.hidden` channels inside, doubled with
    the width.

    Args:
        keep: share of the frequencies kept along each axis, rounded up.
    """

    def __init__(
        self,
        mixer: type[Mixer],
        size: Size,
        *,
        image: tuple[int, int],
        channels: int,
        classes: int,
        dropout: float = 0.0,
        keep: float = 0.5,
    ) -> None:
        super().__init__()
        stride = stem_stride(image, _MOST)
        grid = (-(-image[0] // stride), -(-image[1] // stride))
        grids = [grid]
        for _ in range(_STAGES - 1):
            grids.append((-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))
        dims = [size.dim << stage for stage in range(_STAGES)]
        self.stem = PixelStem(channels, size.dim, stride)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    DuoBlock(mixer, dim, size.hidden << stage, grid=places, keep=keep, dropout=dropout)
                    for _ in range(size.depth)
                )
            )
            for stage, (dim, places) in enumerate(zip(dims, grids, strict=True))
        )
        self.downs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b))
            for a, b in pairwise(dims)
        )
        self.head = nn.Sequential(nn.LayerNorm(dims[-1]), nn.Dropout(dropout), nn.Linear(dims[-1], classes))

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        x, maps = self.stem(x), []
        for index, stage in enumerate(self.stages):
            x = stage(self.downs[index - 1](x) if index else x)
            maps.append(x)
        return tuple(maps)

    def classify(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.head(maps[-1].mean(dim=(2, 3)))


class DuoBlock(nn.Module):
    """`x + fuse(concat(frequencies(x), pixels(x)))` over maps `(B, D, H, W)`."""

    def __init__(
        self, mixer: type[Mixer], dim: int, hidden: int, *, grid: tuple[int, int], keep: float, dropout: float
    ) -> None:
        super().__init__()
        self.frequencies = DCTMixing(mixer, dim, hidden, grid=grid, keep=keep, dropout=dropout)
        self.pixels = MobileConv(dim, hidden)
        self.fuse = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fuse(torch.cat([self.frequencies(x), self.pixels(x)], dim=1))


class DCTMixing(nn.Module):
    """Mix the low-frequency corner of a map's cosine transform; the other frequencies come back as zero.

    The h x w coefficients are tokens of a pre-norm layer of mixer and perceptron, in which they keep their places; a
    mixer of quadratic cost then pays for `(h w)^2` pairs in place of `(H W)^2`.
    """

    def __init__(
        self, mixer: type[Mixer], dim: int, hidden: int, *, grid: tuple[int, int], keep: float, dropout: float
    ) -> None:
        super().__init__()
        kept = (math.ceil(keep * grid[0]), math.ceil(keep * grid[1]))
        self.transform = CosineTransform(grid, kept)
        self.layer = Layer(
            Branch(adapt(mixer, dim, grid=kept), nn.LayerNorm(dim), dropout=dropout),
            Branch(Mlp(dim, hidden), nn.LayerNorm(dim), dropout=dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.transform(x.permute(0, 2, 3, 1))  # (B, h, w, D)
        return self.transform.inverse(self.layer(tokens, Layout.of(tokens))).permute(0, 3, 1, 2)


class MobileConv(nn.Sequential):
    """1 x 1 expansion, 3 x 3 depthwise, 1 x 1 projection, with batch norms between (arXiv 1801.04381)."""

    def __init__(self, dim: int, expanded: int) -> None:
        super().__init__(
            nn.Conv2d(dim, expanded, 1, bias=False),
            nn.BatchNorm2d(expanded),
            nn.ReLU6(),
            nn.Conv2d(expanded, expanded, 3, padding=1, groups=expanded, bias=False),
            nn.BatchNorm2d(expanded),
            nn.ReLU6(),
            nn.Conv2d(expanded, dim, 1, bias=False),
            nn.BatchNorm2d(dim),
        )
