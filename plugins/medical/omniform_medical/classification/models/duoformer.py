"""A convolutional hierarchy whose scales are mixed within each patch, and then among patches.

Shapes: B batch, C channels, H x W pixels, g x k patches, P = g k of them, T tokens of a patch over all scales, D width,
K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.backbones import Sequence
from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.classification.models.classifier import Classifier, PixelStem, stem_stride
from omniform_medical.classification.models.residual import ResidualStages

__all__ = ["DuoFormer", "cut_patches", "join_patches"]

_MOST = 56  # places each way at the first stage, as the paper has of 224 pixels
_STAGES = 4


class DuoFormer(Classifier):
    """Classify a picture by local and global mixing of a hierarchy of features (arXiv 2506.12982).

    `(B, C, H, W) -> (B, K)`:

    1. Four stages of a residual network; a patch is a place of the last one and owns 1, 4, 16 and 64 places of the
       stages from coarse to fine.
    2. Each stage is projected to width D; of each patch they make, behind a learned scale token, T = 86 tokens with
       learned places. `size.depth` layers mix the tokens within every patch (scale attention).
    3. The scale tokens are the patches' summaries. Behind a class token, with learned places, `size.depth` layers mix
       them (patch attention), and a linear head reads the class token.

    The residual network is small, of widths D / 8 to D, and is trained from scratch; the paper's is ResNet-50 with
    ImageNet's weights. Pictures are padded with zeros below and to the right to whole patches.

    Args:
        scales: how many stages are made tokens, from the coarsest on. With one there is nothing to mix within a patch,
            and what is left is the hybrid vision transformer of arXiv 2010.11929.
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
        scales: int = _STAGES,
    ) -> None:
        super().__init__()
        stride = stem_stride(image, _MOST)
        self.patch = stride << (_STAGES - 1)
        self.scales = scales
        self.grid = (-(-image[0] // self.patch), -(-image[1] // self.patch))
        patches, tokens = self.grid[0] * self.grid[1], sum(4**scale for scale in range(scales)) + 1
        dims = [max(1, size.dim >> (_STAGES - 1 - stage)) for stage in range(_STAGES)]
        self.stem = nn.Sequential(PixelStem(channels, dims[0], stride), nn.ReLU())
        self.cnn = ResidualStages(dims[0], dims)
        self.project = nn.ModuleList(nn.Conv2d(dim, size.dim, 1) for dim in reversed(dims[-scales:]))
        if scales > 1:
            self.scale_token = _learned(1, size.dim)
            self.scale_places = _learned(tokens, size.dim)
            self.local = _layers(mixer, size, tokens, dropout)
        self.class_token = _learned(1, size.dim)
        self.patch_places = _learned(patches + 1, size.dim)
        self.mixing = _layers(mixer, size, patches + 1, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(size.dim, classes)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        below, right = -x.shape[2] % self.patch, -x.shape[3] % self.patch
        return self.cnn(self.stem(F.pad(x, (0, right, 0, below))))

    def classify(self, maps: tuple[Tensor, ...]) -> Tensor:
        summaries = self.summaries(maps)  # (B, P, D)
        tokens = torch.cat([self.class_token.expand(summaries.shape[0], -1, -1), summaries], dim=1) + self.patch_places
        return self.head(self.dropout(_mix(self.mixing, tokens)[:, 0]))

    def tokenize(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return the tokens `(B, P, T - 1, D)` of each patch, coarse to fine."""
        stages = reversed(maps[-self.scales :])
        return torch.cat(
            [cut_patches(project(stage), self.grid) for project, stage in zip(self.project, stages, strict=True)], dim=2
        )

    def summaries(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return one token of each patch, `(B, P, D)`, that knows its patch alone."""
        tokens = self.tokenize(maps)
        if self.scales == 1:
            return tokens[:, :, 0]
        flat = tokens.flatten(0, 1)  # (B P, T - 1, D)
        flat = torch.cat([self.scale_token.expand(flat.shape[0], -1, -1), flat], dim=1) + self.scale_places
        return _mix(self.local, flat)[:, 0].unflatten(0, (-1, self.grid[0] * self.grid[1]))


def cut_patches(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cut maps `(B, D, g s, k s)` into patches `(B, g k, s s, D)`, row by row."""
    rows, columns = grid
    x = x.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))  # (B, D, g, s, k, s)
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)


def join_patches(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Undo `cut_patches`."""
    rows, columns = grid
    side = round(x.shape[2] ** 0.5)
    x = x.unflatten(2, (side, side)).unflatten(1, (rows, columns))  # (B, g, k, s, s, D)
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def _learned(count: int, dim: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(count, dim), std=0.02))


def _layers(mixer: type[Mixer], size: Size, tokens: int, dropout: float) -> Sequence:
    """Make layers over a set of tokens: where each belongs is in its learned place."""

    def make_layer(index: int, dim: int) -> Layer:
        return Layer(
            Branch(adapt(mixer, dim, grid=(tokens,), axes=("set",)), nn.LayerNorm(dim), dropout=dropout),
            Branch(Mlp(dim, size.hidden), nn.LayerNorm(dim), dropout=dropout),
        )

    return Sequence(make_layer, dim=size.dim, depth=size.depth)


def _mix(layers: Sequence, tokens: Tensor) -> Tensor:
    return layers(tokens, Layout.of(tokens, ("set",))).last
