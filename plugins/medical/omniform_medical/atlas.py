"""A common grid under all cases, what training cases hold there, and how a class looks.

N = atlases (training cases), C = channels, K = classes, *G = cells of the common grid, (X, Y, Z) = canonical voxels
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from omniform_medical.case import Volume
from omniform_medical.prepared import Frame
from omniform_medical.preprocessing import make_frame

__all__ = ["Gaussians", "Placed", "distances", "grid_for", "resample", "vote"]

_SIDES = {1: 4096, 2: 96, 3: 32}  # cells along each axis, by the number of axes that are not flat
_WIDTH = 1.5 / 32  # of the neighbourhood in which looks are compared, as a share of the box
_SAMPLE = 1 << 18  # voxels of a case that statistics are taken of
_BLOCK = 1 << 23  # voxels (times channels or classes) at a time
_TAIL = 0.002  # share of bright voxels that may lie outside the box: specks


def grid_for(volume: Volume) -> tuple[int, int, int]:
    """Return the cells of the grid for cases like this one: flat axes have one."""
    shape = _frame(volume).canonical(volume.image).shape[1:]
    side = _SIDES[max(_rank(shape), 1)]
    x, y, z = (side if size > 1 else 1 for size in shape)
    return x, y, z


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A case laid over the common grid by the box of what is not empty.

    Attributes:
        frame: from the file's axes to canonical ones.
        image: `(C, X, Y, Z)` float32, a view of the volume's along canonical axes.
        label: `(X, Y, Z)`, or `None`.
        mean: `(C,)` of the intensities in the box.
        std: `(C,)` of them.
        down: a matrix per axis, voxels to cells: a triangle as wide as a cell or a voxel, whichever is wider.
        up: a matrix per axis, cells to voxels: linear, beyond the box as at its edge.
    """

    frame: Frame
    image: np.ndarray
    label: np.ndarray | None
    mean: np.ndarray
    std: np.ndarray
    down: tuple[np.ndarray, ...]
    up: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, volume: Volume, cells: tuple[int, int, int]) -> Placed:
        frame = _frame(volume)
        image = frame.canonical(volume.image)
        label = None if volume.label is None else frame.canonical(volume.label)
        box = _box(image[0])
        inside = image[(slice(None), *(slice(*side) for side in box))]
        inside = inside[(slice(None), *_stride(inside.shape[1:]))].reshape(len(image), -1).astype(np.float64)
        ends = list(zip(image.shape[1:], cells, box, strict=True))
        return cls(
            frame,
            image,
            label,
            inside.mean(axis=1),
            np.maximum(inside.std(axis=1), 1e-12),
            tuple(_shrinking(size, count, *side) for size, count, side in ends),
            tuple(_growing(size, count, *side) for size, count, side in ends),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.image.shape[1:]

    def intensities(self, *where: slice) -> np.ndarray:
        """Return the z-scored intensities of a part, `(C, x, y, z)` float32."""
        part = self.image[(slice(None), *where)]
        mean, std = (values.astype(np.float32)[:, None, None, None] for values in (self.mean, self.std))
        return (part - mean) / std

    def on_grid(self) -> np.ndarray:
        """Return the z-scored intensities of the cells, `(C, *G)` float32."""
        return self._shrink(lambda block: self.intensities(block))

    def labels_on_grid(self, classes: int) -> np.ndarray:
        """Return the share of each class in the cells, `(K, *G)` uint8, 255 for all of it."""
        assert self.label is not None
        label = self.label
        shares = [self._shrink(lambda block, k=k: (label[block] == k)[None].astype(np.float32)) for k in range(classes)]
        return np.rint(255 * np.concatenate(shares)).astype(np.uint8)

    def blocks(self, depth: int) -> Iterator[slice]:
        """Cut the first axis so that `depth` floats of each voxel fit into memory."""
        step = max(1, _BLOCK // (depth * math.prod(self.shape[1:])))
        for start in range(0, self.shape[0], step):
            yield slice(start, start + step)

    def thinned(self) -> Placed:
        """Return a copy with evenly spaced voxels that stand for the others; it cannot be put on the grid any more."""
        steps = _stride(self.shape)
        label = None if self.label is None else np.ascontiguousarray(self.label[steps])
        up = tuple(matrix[step] for matrix, step in zip(self.up, steps, strict=True))
        return replace(self, image=np.ascontiguousarray(self.image[(slice(None), *steps)]), label=label, down=(), up=up)

    def _shrink(self, part: Callable[[slice], np.ndarray]) -> np.ndarray:
        x, y, z = self.down
        return np.sum([resample(part(block), (x[:, block], y, z)) for block in self.blocks(len(self.image))], axis=0)


def resample(array: np.ndarray, matrices: tuple[np.ndarray, ...]) -> np.ndarray:
    """Multiply the last three axes of an array, each by its matrix."""
    for axis, matrix in zip((-3, -2, -1), matrices, strict=True):
        array = np.moveaxis(np.tensordot(array, matrix, axes=(axis, 1)), -1, axis)
    return array


def distances(atlases: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return how unlike an image `(C, *G)` is each atlas `(N, C, *G)` around every cell, `(N, *G)`: `G * |I_n - I|^2`.

    The mean over channels of squared differences of z-scores, blurred by a Gaussian of 1.5 / 32 of the box.
    """
    squares = np.mean((atlases - image) ** 2, axis=1, dtype=np.float32)
    widths = (0.0, *(_WIDTH * cells for cells in image.shape[1:]))
    return gaussian_filter(squares, widths, mode="nearest", truncate=2.5)


def vote(labels: np.ndarray, unlike: np.ndarray | None, sharpness: float) -> np.ndarray:
    """Return the prior of each class, `(K, *G)` float32, from atlases' labels `(N, K, *G)` and their `distances`.

    `sum_n w_n L_nk / sum_n w_n` with `w_n = exp(-sharpness * unlike_n)`; at sharpness 0 distances are not needed.
    """
    if unlike is None or sharpness == 0:
        return labels.mean(axis=0, dtype=np.float32) / 255
    weight = np.exp(-sharpness * (unlike - unlike.min(axis=0)))
    weight /= 255 * weight.sum(axis=0)
    return np.stack([np.einsum("n...,n...->...", weight, labels[:, k]) for k in range(labels.shape[1])])


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """A Gaussian of the intensities of each class, all channels under one full covariance.

    Attributes:
        seen: `(K,)` whether training has the class.
        mean: `(K, C)`.
        whitening: `(K, C, C)` with `whitening @ whitening.T` the inverse covariance.
    """

    seen: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray

    @classmethod
    def of(cls, count: np.ndarray, total: np.ndarray, square: np.ndarray) -> Gaussians:
        """Fit to numbers of voxels `(K,)`, sums of intensities `(K, C)` and of their products `(K, C, C)`."""
        number = np.maximum(count, 1.0)
        mean = total / number[:, None]
        covariance = square / number[:, None, None] - mean[:, :, None] * mean[:, None, :]
        covariance[count == 0] = 0
        ridge = 1e-3 * np.eye(mean.shape[1])  # of z-scores: a class of one shade would else have no width
        seen = count > 0
        seen[0] = True  # also where no foreground lies near it
        return cls(seen, mean, np.linalg.cholesky(np.linalg.inv(covariance + ridge)))

    def log_density(self, intensities: np.ndarray) -> np.ndarray:
        """Return `log N(x; m_k, S_k)` up to a constant, `(K, ...)` float32, of z-scores `(C, ...)`."""
        values = []
        for mean, whitening in zip(self.mean, self.whitening, strict=True):
            centred = intensities - mean.astype(np.float32).reshape(-1, *(1,) * (intensities.ndim - 1))
            white = np.tensordot(whitening.T.astype(np.float32), centred, axes=1)
            values.append(np.log(np.diag(whitening)).sum() - 0.5 * (white**2).sum(axis=0))
        return np.stack(values).astype(np.float32)


def _frame(volume: Volume) -> Frame:
    return make_frame(volume.geometry, (None, None, None))


def _box(image: np.ndarray) -> list[tuple[int, int]]:
    """Return, per axis, the range of voxels brighter than the mean, up to 0.2 % at each end; all where none is.

    The mean lies between air and body, and of a crop that is all body the box is nearly the whole.
    """
    steps = _stride(image.shape)
    sample = image[steps]
    bright = sample > sample.mean(dtype=np.float64)
    if not bright.any():
        return [(0, size) for size in image.shape]
    box = []
    for axis, (step, size) in enumerate(zip(steps, image.shape, strict=True)):
        marginal = np.cumsum(bright.sum(axis=tuple(other for other in range(3) if other != axis)))
        low, high = np.searchsorted(marginal, [_TAIL * marginal[-1], (1 - _TAIL) * marginal[-1]])
        box.append((int(low) * step.step, min((int(high) + 1) * step.step, size)))
    return box


def _stride(shape: tuple[int, ...]) -> tuple[slice, ...]:
    most = round(_SAMPLE ** (1 / max(_rank(shape), 1)))
    return tuple(slice(None, None, -(-size // most)) for size in shape)


def _rank(shape: tuple[int, ...]) -> int:
    return sum(size > 1 for size in shape)


def _shrinking(size: int, cells: int, low: int, high: int) -> np.ndarray:
    """Return `(cells, size)`, rows that sum to 1."""
    width = (high - low) / cells
    centres = low + (np.arange(cells) + 0.5) * width - 0.5
    matrix = np.clip(1 - np.abs(centres[:, None] - np.arange(size)) / max(width, 1.0), 0, None)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def _growing(size: int, cells: int, low: int, high: int) -> np.ndarray:
    """Return `(size, cells)`, rows that sum to 1."""
    places = ((np.arange(size) + 0.5 - low) * cells / (high - low) - 0.5).clip(0, cells - 1)
    return np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, None).astype(np.float32)
