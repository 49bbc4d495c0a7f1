"""How far the surfaces of two masks lie apart, in millimetres.

N, M = surface voxels of the first and the second mask
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

__all__ = ["TOLERANCE", "SurfaceDistances", "surface", "surface_distances"]

TOLERANCE = 1.0
"""Millimetres within which a surface counts as found, of the normalised surface Dice."""

_ROUNDING = 1e-3  # mm by which float32 headers miss a round spacing


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """From every surface voxel of either mask to the nearest one of the other, `(N,)` and `(M,)`, in millimetres."""

    forth: np.ndarray
    back: np.ndarray

    @property
    def nsd(self) -> float:
        """Return the share of both surfaces within 1 mm of the other: the normalised surface Dice (arXiv 1809.04430).

        A surface is counted in voxels, as MONAI does by default; the paper weighs elements of surface by their area.
        """
        near = sum(int((part <= TOLERANCE + _ROUNDING).sum()) for part in (self.forth, self.back))
        return near / (len(self.forth) + len(self.back))

    @property
    def hd95(self) -> float:
        """Return the larger of the two directions' 95th percentiles."""
        return max(float(np.percentile(part, 95)) for part in (self.forth, self.back))


def surface(mask: np.ndarray) -> np.ndarray:
    """Return which voxels of a mask touch what is not mask by one of their faces; outside the array is not mask."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        here, there = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[[0, -1]] = False
    return mask & ~inner


def surface_distances(first: np.ndarray, second: np.ndarray, spacing: Sequence[float]) -> SurfaceDistances:
    """Measure between the surface voxels of two masks, neither empty, on a grid of this spacing; exact, in float64.

    The masks may be cut to the box that holds both. A plane is given with two axes: its surface is its outline.
    """
    surfaces = surface(first), surface(second)
    points = [np.argwhere(each) * np.array(spacing) for each in surfaces]
    shared = surfaces[0] & surfaces[1]
    return SurfaceDistances(
        _nearest(points[0], points[1], shared[surfaces[0]]), _nearest(points[1], points[0], shared[surfaces[1]])
    )


def _nearest(points: np.ndarray, others: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the nearest of the others, which is 0 for those that they share."""
    distances = np.zeros(len(points))
    if not shared.all():
        distances[~shared] = KDTree(others, leafsize=32).query(points[~shared])[0]
    return distances
