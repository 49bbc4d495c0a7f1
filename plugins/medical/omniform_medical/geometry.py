"""Where a volume lies: voxel (i, j, k) at `affine @ (i, j, k, 1)`, in millimetres, RAS+ (right, anterior, superior)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Geometry"]

_TOLERANCE = 1e-3  # mm that a corner may be off: what float32 headers lose
_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS+ to LPS+ and back


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A grid of voxels in space.

    Attributes:
        shape: voxels along each of the three axes; the last is 1 for a plane.
        affine: `(4, 4)` float64, voxel indices to millimetres, RAS+ (nibabel's convention; ITK and DICOM use LPS+).
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @classmethod
    def from_lps(
        cls, shape: tuple[int, int, int], origin: Sequence[float], spacing: Sequence[float], direction: np.ndarray
    ) -> Geometry:
        """Return the grid that ITK and DICOM describe in LPS+; column a of direction `(3, 3)` is where axis a runs."""
        affine = np.eye(4)
        affine[:3, :3] = direction * np.asarray(spacing)
        affine[:3, 3] = origin
        return cls(shape, _TURN @ affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between neighbours along each axis."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def lps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return origin `(3,)`, spacing `(3,)` and direction `(3, 3)` in LPS+, as `from_lps` takes them."""
        turned = _TURN @ self.affine
        spacing = np.asarray(self.spacing)
        return turned[:3, 3], spacing, turned[:3, :3] / spacing

    def differs(self, other: Geometry) -> str | None:
        """Say in words how the other grid differs, `None` if it is the same within 0.001 mm at every corner."""
        if self.shape != other.shape:
            return f"{_times(other.shape)} voxels beside {_times(self.shape)}"
        apart = other.corners() - self.corners()
        distance = float(np.abs(apart).max())
        if distance <= _TOLERANCE:
            return None
        if not np.allclose(self.spacing, other.spacing, rtol=0, atol=_TOLERANCE):
            return f"a spacing of {_millimetres(other.spacing)} beside {_millimetres(self.spacing)}"
        if np.ptp(apart, axis=0).max() <= _TOLERANCE:
            return f"its origin at {_millimetres(other.affine[:3, 3])} beside {_millimetres(self.affine[:3, 3])}"
        return f"another direction or spacing: corners lie up to {distance:.3g} mm apart"

    def corners(self) -> np.ndarray:
        """Return the centres of the eight corner voxels, `(8, 3)`, in millimetres."""
        last = np.array(self.shape) - 1
        index = np.stack(np.meshgrid(*((0, n) for n in last), indexing="ij"), axis=-1).reshape(-1, 3)
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _millimetres(values: tuple[float, ...] | np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values) + " mm"
