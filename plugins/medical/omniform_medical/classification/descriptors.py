"""Hand-made descriptors of pictures: a thumbnail, a histogram of intensities, histograms of gradients.

N = pictures, H, W = height and width, C = channels, F = descriptors
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omniform_medical.classification.album import Album

__all__ = ["Descriptors"]

_THUMB = 8
_BINS = 16
_CELLS = 4
_DIRECTIONS = 8
_CHUNK = 512  # pictures at a time


@dataclass(frozen=True, slots=True, eq=False)
class Descriptors:
    """Describe pictures by `64 C + 16 C + 128` numbers; intensities are binned by the training pictures.

    Attributes:
        edges: `(C, 17)` borders of the bins: training quantiles, so that bins are equally full there.
    """

    edges: np.ndarray

    @classmethod
    def of(cls, album: Album) -> Descriptors:
        flat = album.pixels.reshape(-1, album.channels)
        some = flat[:: max(1, len(flat) // 1_000_000)].astype(np.float64)
        return cls(np.quantile(some, np.linspace(0, 1, _BINS + 1), axis=0).T)

    def apply(self, album: Album) -> np.ndarray:
        """Return `(N, F)` float64."""
        starts = range(0, len(album), _CHUNK)
        return np.concatenate([self._describe(album.pixels[s : s + _CHUNK].astype(np.float64)) for s in starts])

    def _describe(self, pixels: np.ndarray) -> np.ndarray:
        parts = [block_means(pixels, _THUMB), self._histogram(pixels), gradient_histograms(pixels.mean(axis=3))]
        return np.concatenate([part.reshape(len(pixels), -1) for part in parts], axis=1)

    def _histogram(self, pixels: np.ndarray) -> np.ndarray:
        """Return `(N, C, 16)`: the share of pixels in each bin."""
        shares = np.empty((len(pixels), pixels.shape[3], _BINS))
        for channel, edges in enumerate(self.edges):
            bins = np.searchsorted(edges[1:-1], pixels[..., channel].reshape(len(pixels), -1), side="right")
            for bin_ in range(_BINS):
                shares[:, channel, bin_] = (bins == bin_).mean(axis=1)
        return shares


def gradient_histograms(grey: np.ndarray) -> np.ndarray:
    """Return `(N, 4, 4, 8)` histograms of oriented gradients (Dalal & Triggs 2005), of norm 1 a picture.

    Each cell sums the magnitudes of its gradients by direction, modulo half a turn, a gradient between two directions
    counting for both by its nearness.
    """
    down, right = np.gradient(grey, axis=(1, 2))
    size = np.hypot(down, right)
    angle = np.arctan2(down, right) % np.pi / np.pi * _DIRECTIONS
    lower = np.floor(angle)
    votes = np.zeros((*grey.shape, _DIRECTIONS))
    for direction, share in ((lower, 1 - (angle - lower)), (lower + 1, angle - lower)):
        votes += np.where(direction[..., None] % _DIRECTIONS == np.arange(_DIRECTIONS), (size * share)[..., None], 0.0)
    cells = block_means(votes, _CELLS)
    norm = np.sqrt(np.square(cells).sum(axis=(1, 2, 3), keepdims=True))
    return cells / np.where(norm > 0, norm, 1.0)


def block_means(values: np.ndarray, count: int) -> np.ndarray:
    """Return the means `(N, count, count, C)` of `(N, H, W, C)` over blocks as equal as whole pixels allow."""
    for axis in (1, 2):
        length = values.shape[axis]
        starts = np.arange(count) * length // count
        sizes = np.maximum(np.diff([*starts, length]), 1)
        shape = [1] * values.ndim
        shape[axis] = count
        values = np.add.reduceat(values, starts, axis=axis) / sizes.reshape(shape)
    return values
