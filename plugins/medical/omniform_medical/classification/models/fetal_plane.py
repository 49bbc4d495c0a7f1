"""Light convolutional features, refined by attention, for planes of ultrasound.

Shapes: B batch, C channels, H x W pixels, D width, h x w places, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.classification.models.classifier import Classifier, PixelStem, stem_stride
from omniform_medical.classification.models.gates import ChannelGate, PlaceGate
from omniform_medical.classification.models.mobile import MBConv

__all__ = ["FetalPlane"]

_MOST = 32  # places each way at the first stage
_STAGES = 4


class FetalPlane(Classifier):
    """Classify a plane by EfficientNet-like features, attention that refines them, and a perceptron (arXiv 2410.17396).

    `(B, C, H, W) -> (B, K)`: at most 32 x 32 places; four stages of `size.depth` MBConv blocks, stage s of width s D
    with s times `size.hidden` expanded channels, each but the first at half the resolution of the one before; gates
    over channels and places; the mean; a perceptron of three layers with dropout.

    The paper fine-tunes EfficientNets that ImageNet trained; this one is trained from scratch and far smaller. It names
    its attention no further than that it refines features: the gates are those of arXiv 1807.06521. It has no token
    mixer; the mixer's slot is in the gate over places (see `PlaceGate`).
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
    ) -> None:
        super().__init__()
        stride = stem_stride(image, _MOST)
        grid = (-(-image[0] // stride), -(-image[1] // stride))
        for _ in range(_STAGES - 1):
            grid = (-(-grid[0] // 2), -(-grid[1] // 2))
        self.stem = nn.Sequential(PixelStem(channels, size.dim, stride), nn.SiLU())
        self.stages = nn.ModuleList(_stage(size, index) for index in range(_STAGES))
        last = _STAGES * size.dim
        self.channels = ChannelGate(last)
        self.places = PlaceGate(mixer, last, grid)
        self.head = nn.Sequential(
            nn.Linear(last, 2 * size.dim),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * size.dim, size.dim),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(size.dim, classes),
        )

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def classify(self, maps: tuple[Tensor, ...]) -> Tensor:
        return self.head(self.places(self.channels(maps[-1])).mean(dim=(2, 3)))


def _stage(size: Size, index: int) -> nn.Sequential:
    dim, in_dim = (index + 1) * size.dim, max(1, index) * size.dim
    expanded = (index + 1) * size.hidden
    first = MBConv(in_dim, dim, expanded, stride=2 if index else 1)
    return nn.Sequential(first, *(MBConv(dim, dim, expanded) for _ in range(size.depth - 1)))
