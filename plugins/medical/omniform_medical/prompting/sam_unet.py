"""SAM-UNet: a frozen SAM with a trained convolutional branch beside its image encoder.

Shapes: B batch, S side of the image, `(h, w)` tokens, D width of SAM's tokens, E of its embedding, C_l of level l of
the branch: `4 (h, w)`, `2 (h, w)` and `(h, w)` for l = 0, 1, 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.backbones import Down
from omniform.channel import Convolutions, Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.prompting.sam import Sam
from omniform_medical.prompting.shape import SamShape

__all__ = ["SamUNet"]

_LEVELS = 3


class SamUNet(nn.Module):
    """Segment what prompts point at, with a SAM whose images are seen by convolutions too (arXiv 2408.09886).

    Image and prompt encoder of SAM are frozen. A branch of residual convolutions, whose coarsest level has the mixer
    (ours), sees the image at three resolutions. Its coarsest map is added to SAM's tokens before each layer that looks
    at the whole image; the finer two, joined from coarse to fine, are added to the mask decoder's features on their way
    up, as a U-Net's skips. Every addition goes through a gate, a linear map that starts at zero: at first this is SAM.

    The paper's branch is a ResNet that enters at a level for each global layer, and its decoder draws one mask with a
    token of its own; here every global layer gets the coarsest map, and SAM's four masks are kept, for clicks.

    Args:
        mixer: of the branch's coarsest level.
        size: `dim` of the branch's finest level (coarser ones 2 and 4 times as wide), `hidden` between two convolutions
            there (coarser ones in proportion), layers of a level.
        side: S.
    """

    def __init__(self, mixer: type[Mixer], size: Size, *, shape: SamShape, side: int) -> None:
        super().__init__()
        self.shape = shape
        self.sam = Sam(shape, side)
        for part in (self.sam.vision_encoder, self.sam.prompt_encoder):
            part.requires_grad_(False)
        dims = [size.dim * 2**level for level in range(_LEVELS)]
        tokens = (side // shape.patch,) * 2

        def layer(level: int) -> Layer:
            hidden = size.hidden * 2**level
            if level < _LEVELS - 1:
                return Layer(Branch(Convolutions(dims[level], hidden, rank=2)))
            return Layer(
                Branch(adapt(mixer, dims[level], grid=tokens), nn.LayerNorm(dims[level])),
                Branch(Mlp(dims[level], hidden), nn.LayerNorm(dims[level])),
            )

        stride = shape.patch // 4
        self.stem = nn.Conv2d(3, size.dim, 2 * stride - 1, stride=stride, padding=stride - 1)
        self.stages = nn.ModuleList(nn.ModuleList(layer(level) for _ in range(size.depth)) for level in range(_LEVELS))
        self.downs = nn.ModuleList(Down(dims[i], dims[i + 1], factors=(2, 2)) for i in range(_LEVELS - 1))
        self.joins = nn.ModuleList(nn.Linear(dims[i] + dims[i + 1], dims[i]) for i in range(_LEVELS - 1))
        self.inject = nn.ModuleDict(
            {str(i): Gate(dims[-1], shape.width) for i in range(shape.layers) if shape.is_global(i)}
        )
        self.fuse = nn.ModuleList([Gate(dims[1], shape.decoder // 4), Gate(dims[0], shape.decoder // 8)])

    def forward(
        self,
        images: Tensor,
        *,
        boxes: Tensor | None = None,
        points: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what `Sam.forward` does."""
        fine, middle, coarse = self._maps(images)

        def inject(index: int, tokens: Tensor) -> Tensor:
            return tokens + self.inject[str(index)](coarse) if self.shape.is_global(index) else tokens

        def fuse(step: int, features: Tensor) -> Tensor:
            return features + self.fuse[step]((middle, fine)[step]).movedim(-1, 1)

        sam = self.sam
        image = sam.prompted(sam.vision_encoder(images, inject))
        prompt = sam.prompt_encoder(boxes=boxes, points=points, labels=labels)
        return sam.mask_decoder(image, prompt, sam.prompt_encoder.dense(image.shape[-1]), fuse)

    def _maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the branch's maps, finest first, `(B, *, *, C_l)`; each but the last has the coarser one joined."""
        x = self.stem(images).movedim(1, -1)
        maps = []
        for level, stage in enumerate(self.stages):
            if level:
                x, _ = self.downs[level - 1](x, Layout.of(x))
            assert isinstance(stage, nn.ModuleList)
            for layer in stage:
                x = layer(x, Layout.of(x))
            maps.append(x)
        for level in reversed(range(_LEVELS - 1)):
            above = F.interpolate(maps[level + 1].movedim(-1, 1), scale_factor=2, mode="bilinear").movedim(1, -1)
            maps[level] = maps[level] + self.joins[level](torch.cat([maps[level], above], dim=-1))
        return tuple(maps)


class Gate(nn.Module):
    """Normalise and project, by a map that starts at zero (a zero convolution, arXiv 2302.05543)."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, out_dim)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.norm(x))
