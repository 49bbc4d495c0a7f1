"""A case as the network sees it, and the way back to the grid of its file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omniform_medical.geometry import Geometry
from omniform_medical.image import Image

__all__ = ["Frame", "Prepared"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """From the grid of a file to the prepared grid: axes made canonical, empty margins cropped, spacing the plan's.

    Centres of voxels correspond as in image resizing without aligned corners: the prepared voxel p of an axis with n
    prepared voxels for the b file voxels of the box lies at `low + (p + 1/2) b / n - 1/2` in canonical file voxels.

    Attributes:
        geometry: of the file.
        axes: `axes[a]` is the file's axis that runs closest to canonical axis a.
        flips: whether that axis runs against it.
        box: `((low, high), ...)` per canonical axis: what of the canonical file grid is kept, high excluded.
        shape: of the prepared grid.
    """

    geometry: Geometry
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    shape: tuple[int, int, int]

    def canonical(self, array: np.ndarray) -> np.ndarray:
        """Return a view of `(..., X, Y, Z)` on the file's axes along canonical axes."""
        leading = range(array.ndim - 3)
        turned = array.transpose(*leading, *(len(leading) + axis for axis in self.axes))
        return turned[..., *_reversals(self.flips)]

    def native(self, array: np.ndarray) -> np.ndarray:
        """Undo `canonical`, by a view too."""
        leading = range(array.ndim - 3)
        turned = array[..., *_reversals(self.flips)]
        return turned.transpose(*leading, *(len(leading) + self.axes.index(axis) for axis in range(3)))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A case ready for the network.

    Attributes:
        name: of the case.
        image: `(C, X, Y, Z)` float32 (or a memory map of it in float16), normalised, on the prepared grid.
        label: `(X, Y, Z)` uint8 class indices on the prepared grid, or `None`.
        truth: `(X, Y, Z)` uint8 class indices on the file's own grid, or `None`; what scores are computed on.
        frame: the way back.
        like: whose grid and header the output takes.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    truth: np.ndarray | None
    frame: Frame
    like: Image


def _reversals(flips: tuple[bool, bool, bool]) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if flip else 1) for flip in flips)
