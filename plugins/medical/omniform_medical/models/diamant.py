"""A U-Net with two encoders: one sees the image, one sees where a self-supervised transformer looks in it.

Shapes: B batch, C channels, K classes, H heads of the transformer, `*S` the patch of rank R, `*grid_i` level i, D_i its
width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omniform.backbones import Down, Up
from omniform.channel import Convolutions, Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.models.dino import AttentionViT, distill
from omniform_medical.plan import Plan

__all__ = ["Diamant"]

_WIDEST = 4
_PATCH = 8  # voxels of a token along each axis
_STEPS, _SECONDS = 200, 20.0  # of the transformer's training


class Diamant(nn.Module):
    """Segment patches: `(B, C, *S) -> (logits (B, K, *S),)` (DIAMANT, arXiv 2304.14571).

    A vision transformer learns from the training patches without labels (`initialize`) and is frozen. The attention of
    its class token to each place, a channel a head, goes through an encoder of its own beside the image's; both are of
    residual convolutions. Their features are concatenated and joined at every scale, for the one decoder and for the
    coarsest level, which has the mixer (ours: the paper has convolutions throughout). With nothing taken over from the
    attention's encoder, it is the plain U-Net.

    The paper is about planes and a DINO of natural images; volumes, and a transformer trained on the spot, are ours.

    Args:
        mixer: of the coarsest level.
        size: `dim` of the finest level (coarser ones 2 and 4 times as wide), `hidden` between two convolutions there
            (coarser ones in proportion), layers of a level.
    """

    def __init__(self, mixer: type[Mixer], size: Size, *, plan: Plan, channels: int, classes: int) -> None:
        super().__init__()
        rank = plan.rank
        factors = [stride[:rank] for stride in plan.strides]
        grid = plan.patch[:rank]
        widths = [min(2**level, _WIDEST) for level in range(len(factors) + 1)]
        dims = [size.dim * width for width in widths]
        steps = list(zip(dims[:-1], dims[1:], factors, strict=True))

        def stages() -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(
                    Layer(Branch(Convolutions(dim, size.hidden * width, rank=rank))) for _ in range(size.depth)
                )
                for dim, width in zip(dims[:-1], widths, strict=False)
            )

        def downs() -> nn.ModuleList:
            return nn.ModuleList(Down(fine, coarse, factors=factor) for fine, coarse, factor in steps)

        convolution = nn.Conv3d if rank == 3 else nn.Conv2d
        self.vit = AttentionViT(channels, image=grid, patch=[min(_PATCH, n) for n in grid]).requires_grad_(False)
        heads = self.vit.num_heads
        self.stem = convolution(channels, size.dim, 3, padding=1)
        self.attention_stem = convolution(heads, size.dim, 3, padding=1)
        self.encoders = nn.ModuleList([stages(), stages()])
        self.downs = nn.ModuleList([downs(), downs()])
        self.fusions = nn.ModuleList(nn.Linear(2 * dim, dim) for dim in dims)
        for factor in factors:
            grid = tuple(-(-n // f) for n, f in zip(grid, factor, strict=True))
        self.bottom = nn.ModuleList(
            Layer(
                Branch(adapt(mixer, dims[-1], grid=grid), nn.LayerNorm(dims[-1])),
                Branch(Mlp(dims[-1], size.hidden * widths[-1]), nn.LayerNorm(dims[-1])),
            )
            for _ in range(size.depth)
        )
        self.ups = nn.ModuleList(Up(coarse, fine, factors=factor) for fine, coarse, factor in steps)
        self.joins = nn.ModuleList(nn.Linear(2 * dim, dim) for dim in dims[:-1])
        self.decoder = stages()
        self.head = nn.Sequential(nn.LayerNorm(size.dim), nn.Linear(size.dim, classes))

    def initialize(self, patches: Tensor) -> None:
        """Train the transformer on patches `(N, C, *S)`: 200 steps, or as many as 20 seconds allow."""
        distill(self.vit, patches, steps=_STEPS, seconds=_SECONDS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            looks = self.vit.maps(x.to(self.vit.token.dtype))  # (B, H, *S)
        seen, looked = self._encode(0, self.stem(x)), self._encode(1, self.attention_stem(looks))
        pairs = zip(self.fusions, seen, looked, strict=True)
        *skips, tokens = (fusion(torch.cat(pair, dim=-1)) for fusion, *pair in pairs)
        tokens = _run(self.bottom, tokens)
        for level in reversed(range(len(skips))):
            up = self.ups[level](tokens, Layout.of(skips[level]))
            tokens = self.joins[level](torch.cat([up, skips[level]], dim=-1))
            tokens = _run(self.decoder[level], tokens)
        return (self.head(tokens).movedim(-1, 1),)

    def _encode(self, branch: int, x: Tensor) -> list[Tensor]:
        """Return a branch's tokens at every level, finest first."""
        tokens = x.movedim(1, -1)
        levels = []
        stages, downs = self.encoders[branch], self.downs[branch]
        assert isinstance(stages, nn.ModuleList)
        assert isinstance(downs, nn.ModuleList)
        for stage, down in zip(stages, downs, strict=True):
            tokens = _run(stage, tokens)
            levels.append(tokens)
            tokens, _ = down(tokens, Layout.of(tokens))
        return [*levels, tokens]


def _run(stage: nn.Module, tokens: Tensor) -> Tensor:
    assert isinstance(stage, nn.ModuleList)
    for layer in stage:
        tokens = layer(tokens, Layout.of(tokens))
    return tokens
