"""Change the number of voxels along each axis of a grid, separably.

Shapes: n voxels before and m after along an axis; T taps, the voxels that a new one is made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Taps", "linear", "nearest", "resample", "resample_label"]

_ROWS = 16  # new planes made together, so that temporaries stay small


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Along one axis, new voxel i is `sum over t of weight[i, t] * old voxel index[i, t]`.

    Attributes:
        index: `(m, T)`.
        weight: `(m, T)` float32; rows sum to 1.
    """

    index: np.ndarray
    weight: np.ndarray

    def within(self, low: int, high: int) -> tuple[slice, Taps]:
        """Return the new voxels that `[low, high)` contributes to, and their taps on an array of nothing else."""
        inside = (self.index >= low) & (self.index < high) & (self.weight > 0)
        touched = np.flatnonzero(inside.any(axis=1))
        new = slice(int(touched[0]), int(touched[-1]) + 1) if len(touched) else slice(0, 0)
        index = np.clip(self.index[new] - low, 0, high - low - 1)
        return new, Taps(index, np.where(inside[new], self.weight[new], np.float32(0)))


def linear(before: int, after: int) -> Taps:
    """Interpolate linearly between centres, the edge repeated beyond itself.

    New centre i lies at old `c = (i + 1/2) n / m - 1/2`; old voxel j weighs `max(0, 1 - |j - c| / s)`, normalised.
    s is 1; where at least two old voxels fall upon a new one, it is n / m, so that fine texture does not alias.
    """
    scale = before / after
    support = scale if scale >= 2 else 1.0
    centre = (np.arange(after) + 0.5) * scale - 0.5
    index = np.floor(centre - support).astype(np.int64)[:, None] + 1 + np.arange(math.ceil(2 * support))
    weight = np.clip(1 - np.abs(index - centre[:, None]) / support, 0, None)
    weight[(index < 0) | (index >= before)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    return Taps(np.clip(index, 0, before - 1), weight.astype(np.float32))


def nearest(before: int, after: int) -> Taps:
    """Repeat or leave out voxels."""
    index = ((np.arange(after) + 0.5) * before / after).astype(np.int64)
    return Taps(index[:, None], np.ones((after, 1), dtype=np.float32))


def resample(array: np.ndarray, axes: Sequence[Taps | None]) -> np.ndarray:
    """Return `(X, Y, Z)` float32 with new voxels along each axis that has taps."""
    # the axis that shrinks most goes first: what is between is then smallest
    for axis in sorted(range(3), key=lambda axis: _growth(array.shape[axis], axes[axis])):
        if (taps := axes[axis]) is not None:
            array = _along(array, taps, axis)
    return array.astype(np.float32, copy=False)


def resample_label(label: np.ndarray, axes: Sequence[Taps | None]) -> np.ndarray:
    """Return at each new voxel the class whose resampled indicator is largest, the lowest class of equals.

    Class by class, each within the box that holds it; the background has what the others leave, as weights sum to 1.
    """
    from scipy.ndimage import find_objects

    if all(each is None for each in axes):
        return np.ascontiguousarray(label)
    taps = [nearest(size, size) if each is None else each for size, each in zip(label.shape, axes, strict=True)]
    shape = tuple(len(each.index) for each in taps)
    found, best = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.float32)
    rest = np.ones(shape, dtype=np.float32)
    for value, box in enumerate(find_objects(label), start=1):
        if box is None:
            continue
        news, parts = zip(
            *(each.within(side.start, side.stop) for each, side in zip(taps, box, strict=True)), strict=True
        )
        share = resample((label[box] == value).astype(np.float32), parts)
        ahead = share > best[news]
        found[news][ahead] = value
        np.maximum(best[news], share, out=best[news])
        rest[news] -= share
    found[rest >= best] = 0
    return found


def _growth(before: int, taps: Taps | None) -> float:
    return 1.0 if taps is None else len(taps.index) / before


def _along(array: np.ndarray, taps: Taps, axis: int) -> np.ndarray:
    shape = list(array.shape)
    shape[axis] = len(taps.index)
    made = np.empty(shape, dtype=np.float32)
    column = [1, 1, 1]
    column[axis] = -1
    for start in range(0, shape[axis], _ROWS):
        index, weight = taps.index[start : start + _ROWS], taps.weight[start : start + _ROWS]
        rows = tuple(slice(start, start + _ROWS) if each == axis else slice(None) for each in range(3))
        made[rows] = sum(
            np.take(array, index[:, tap], axis=axis) * weight[:, tap].reshape(column) for tap in range(index.shape[1])
        )
    return made
