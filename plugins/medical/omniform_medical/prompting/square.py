"""Planes scaled into the square image of a network, and masks scaled back.

Shapes: X, Y voxels of a plane, C channels, S side of the square, `(x, y)` what the plane takes of it, s side of masks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniform.errors import DataError

__all__ = ["Square"]

_CHANNELS = 3


class Square:
    """The longer axis of a plane scaled to S, the other in proportion, zeros behind it.

    Centres of voxels correspond as in resizing without aligned corners: p goes to `(p + 1/2) x / X - 1/2`.
    """

    def __init__(self, shape: tuple[int, int], side: int) -> None:
        self.shape = shape
        self.side = side
        self.taken = tuple(max(1, round(n * side / max(shape))) for n in shape)

    def image(self, plane: np.ndarray) -> Tensor:
        """Return `(3, S, S)` of a plane `(C, X, Y)`; channels repeat until there are three.

        Raises:
            DataError: the plane has more than three channels.
        """
        channels = len(plane)
        if channels > _CHANNELS:
            raise DataError(f"expected at most {_CHANNELS} channels, as SAM takes, got {channels}; choose among them")
        return self._scaled(torch.from_numpy(plane))[[i % channels for i in range(_CHANNELS)]]

    def truth(self, mask: np.ndarray) -> Tensor:
        """Return the share of each pixel that a mask `(X, Y)` covers, `(S, S)`."""
        return self._scaled(torch.from_numpy(mask).float()[None])[0]

    def points(self, places: np.ndarray) -> Tensor:
        """Return places `(P, 2)` of the plane as SAM counts them: columns (along y) before rows (along x)."""
        scale = np.divide(self.taken, self.shape)
        return torch.from_numpy(((places + 0.5) * scale - 0.5)[:, ::-1].astype(np.float32))

    def box(self, box: np.ndarray) -> Tensor:
        """Return a box `(4,)` of the plane as SAM counts it."""
        return self.points(box.reshape(2, 2)).flatten()

    def mask(self, logits: Tensor) -> np.ndarray:
        """Return the mask `(X, Y)` of logits `(s, s)`."""
        square = F.interpolate(logits[None, None].float(), (self.side, self.side), mode="bilinear")
        plane = square[..., : self.taken[0], : self.taken[1]]
        return (F.interpolate(plane, self.shape, mode="bilinear")[0, 0] > 0).numpy()

    def _scaled(self, plane: Tensor) -> Tensor:
        scaled = F.interpolate(plane[None], self.taken, mode="bilinear", antialias=True)[0]
        return F.pad(scaled, (0, self.side - self.taken[1], 0, self.side - self.taken[0]))
