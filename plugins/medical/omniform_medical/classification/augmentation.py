"""How training pictures are varied, as tensors `(B, C, H, W)`. Draws from torch's default generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Augmentation"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Mirror, shift and relight each picture by itself.

    Attributes:
        flip: axes along which every other picture is mirrored: any of `x` (left and right) and `y` (up and down).
        shift: the most by which it moves along either axis, as a share of it; edges are continued.
        brightness: standard deviation of what is added to intensities, in deviations of the batch, and of the share by
            which contrast around the picture's mean is changed.
    """

    flip: str = ""
    shift: float = 0.0
    brightness: float = 0.0

    def __call__(self, pictures: Tensor) -> Tensor:
        for letter, axis in (("x", 3), ("y", 2)):
            if letter in self.flip:
                chosen = torch.rand(len(pictures)) < 0.5
                pictures = torch.where(chosen[:, None, None, None], pictures.flip(axis), pictures)
        if self.shift > 0:
            pictures = torch.stack([self._shifted(picture) for picture in pictures])
        if self.brightness > 0:
            added, stretched = self.brightness * torch.randn(2, len(pictures), 1, 1, 1)
            mean = pictures.mean(dim=(2, 3), keepdim=True)
            pictures = mean + (pictures - mean) * (1 + stretched) + added * pictures.std()
        return pictures

    def _shifted(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[1:]
        most = int(self.shift * height), int(self.shift * width)
        down, right = (int(torch.randint(-m, m + 1, ())) for m in most)
        padded = F.pad(picture[None], (most[1], most[1], most[0], most[0]), mode="replicate")[0]
        return padded[:, most[0] + down : most[0] + down + height, most[1] + right : most[1] + right + width]
