"""What all classifying networks share: maps first, then a class, so that a heat map can be drawn between the two.

Shapes: B batch, C channels, H x W pixels, D width, h x w places of a map, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Classifier", "PixelStem", "stem_stride"]


class Classifier(nn.Module):
    """A network in two halves, `forward(x) = classify(features(x))`."""

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return maps `(B, D, h, w)` of pictures `(B, C, H, W)`, from fine to coarse."""
        raise NotImplementedError

    def classify(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return logits `(B, K)` of the maps."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


class PixelStem(nn.Sequential):
    """Project overlapping patches of `2 s - 1` pixels, one every s pixels, to D channels; then batch norm.

    `(B, C, H, W) -> (B, D, ceil(H / s), ceil(W / s))`. At s = 1 patches are 3 pixels wide.
    """

    def __init__(self, channels: int, dim: int, stride: int) -> None:
        kernel = max(3, 2 * stride - 1)
        super().__init__(
            nn.Conv2d(channels, dim, kernel, stride=stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(dim)
        )


def stem_stride(image: tuple[int, int], most: int) -> int:
    """Return the stride at which neither side has more than `most` places."""
    return -(-max(image) // most)
