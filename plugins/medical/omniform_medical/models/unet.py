"""A U-Net whose coarse levels mix tokens by any mixer, and whose fine levels are convolutions.

Shapes: B batch, C channels, K classes, `*S` the patch, `*grid_i` level i, D_i its width.
"""

from __future__ import annotations

from torch import Tensor, nn

from omniform.backbones import UNet
from omniform.channel import Convolution, Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.models.blocks import grids, strides
from omniform_medical.plan import Plan

__all__ = ["MixerUNet"]

_MOST_TOKENS = 4096
_SUPERVISED = 3


class MixerUNet(nn.Module):
    """Segment patches: `(B, C, *S) -> logits (B, K, *S)`, then coarser logits for deep supervision.

    A level of more than 4,096 tokens has residual convolutions, two a layer, a coarser one layers of mixer and
    perceptron: borders are local, and what goes together is seen where tokens are few. The finest level, which takes
    most of the time, has the stem on the way down and one more convolution on the way up. Every level is twice as wide
    as the one above it.

    Args:
        mixer: of the coarse levels.
        size: `dim` of the third level, `hidden` of a perceptron there (others in proportion), layers of a level. The
            solver moves `dim` by 8: counted at the finest level, these steps would be too coarse.
    """

    def __init__(self, mixer: type[Mixer], size: Size, *, plan: Plan, channels: int, classes: int) -> None:
        super().__init__()
        rank = plan.rank
        factors, sizes = strides(plan), grids(plan)
        dims = [size.dim * 2**level // 4 for level in range(len(sizes))]
        fine = [Layout(grid).num_tokens > _MOST_TOKENS for grid in sizes]

        def make_layer(level: int, dim: int) -> Layer:
            if fine[level]:
                return Layer(*(Branch(Convolution(dim, rank=rank)) for _ in range(1 if level == 0 else 2)))
            return Layer(
                Branch(adapt(mixer, dim, grid=sizes[level]), nn.LayerNorm(dim)),
                Branch(Mlp(dim, size.hidden * 2**level // 4), nn.LayerNorm(dim)),
            )

        convolution = nn.Conv3d if rank == 3 else nn.Conv2d
        self.stem = convolution(channels, dims[0], 3, padding=1)
        self.backbone = UNet(
            make_layer,
            make_layer,
            dims=dims,
            depths=[0 if level == 0 else size.depth for level in range(len(fine))],
            decoder_depths=[1] * len(factors),
            factors=factors,
        )
        self.head = nn.ModuleList(nn.Linear(dim, classes) for dim in dims[:_SUPERVISED])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = self.stem(x).movedim(1, -1).contiguous()  # (B, *S, D)
        levels = self.backbone(tokens, Layout.of(tokens)).levels
        shown = levels if self.training else levels[:1]
        return tuple(head(level).movedim(-1, 1) for head, level in zip(self.head, shown, strict=False))
