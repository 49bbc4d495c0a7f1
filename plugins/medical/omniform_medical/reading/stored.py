"""Numbers as a file stores them, what every format is checked for, and how they become intensities and labels.

X, Y, Z = voxels along the file's axes
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from omniform.errors import DataError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["MOST_VOXELS", "Stored", "check_affine", "check_shape", "intensities", "labels", "refusal"]

MOST_VOXELS = 2**31 - 1
_SHORTEST, _LONGEST = 1e-6, 1e6  # mm between voxels: a nanometre to a kilometre
_FARTHEST = 1e9  # mm from the origin of space
_FLATTEST = 1e-6  # volume of a voxel over that of the box with its edges; 0 where the affine cannot be inverted
_WHOLE = 1e-3  # how far from an integer a label may lie: slopes are float32


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A volume as it stands in its file; what is meant is `slope * array + intercept`.

    Attributes:
        array: `(X, Y, Z)`, integers or floats.
        affine: `(4, 4)` float64 in millimetres, RAS+, checked.
        header: of a NIfTI file, with nothing but its geometry.
    """

    array: np.ndarray
    affine: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0
    header: Nifti1Header | None = None

    @property
    def scaled(self) -> bool:
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def depth(self) -> int:
        """The number Z of planes."""
        return len(self.array.T)

    def plane(self, z: int) -> np.ndarray:
        """Return what is meant at height z, `(X, Y)` float64."""
        return self.array[..., z].astype(np.float64) * self.slope + self.intercept


def refusal(name: str, reason: str) -> DataError:
    """Return the error that a file is refused with: one line that names it, whatever its name holds."""
    return DataError(f"{name}: {reason}".replace("\n", " ").replace("\r", " "))


def check_shape(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    """Return X, Y and Z of what a header announces, before memory is taken for it; Z = 1 for a plane.

    Raises:
        DataError: an axis is missing, empty or negative, there is a fourth, or there are 2^31 voxels or more.
    """
    sizes = [int(size) for size in shape]
    shown = " x ".join(map(str, sizes))
    if not sizes or min(sizes) < 1:
        raise refusal(name, f"its header announces {shown or 'no'} voxels; every axis needs at least 1")
    if max(sizes[3:], default=1) > 1:
        raise refusal(
            name, f"has {len(sizes)} axes ({shown}), expected a volume of 3; write each time point or channel to a file"
        )
    if len(sizes) < 2:
        raise refusal(name, f"has one axis ({shown}), expected a volume of 3")
    if math.prod(sizes) > MOST_VOXELS:
        raise refusal(name, f"its header announces {shown} voxels, expected fewer than 2^31; crop or downsample it")
    x, y, z = (*sizes[:3], 1)[:3]
    return x, y, z


def check_affine(affine: np.ndarray, name: str) -> np.ndarray:
    """Return the affine `(4, 4)` as float64.

    Raises:
        DataError: it is not finite, cannot be inverted, or puts voxels absurdly close or far.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(affine).all():
        raise refusal(name, "its header's position in space is not finite; write its affine anew")
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((spacing >= _SHORTEST) & (spacing <= _LONGEST)).all():
        shown = " x ".join(f"{value:.3g}" for value in spacing)
        raise refusal(name, f"its header says a spacing of {shown} mm; write its affine anew")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < _FLATTEST:
        raise refusal(name, "its header's affine cannot be inverted; write its affine anew")
    if np.abs(affine[:3, 3]).max() > _FARTHEST:
        raise refusal(name, "its header puts the first voxel over 1000 km away; write its affine anew")
    return affine


def intensities(stored: Stored, name: str) -> np.ndarray:
    """Return `(X, Y, Z)` float32.

    Raises:
        DataError: voxels are NaN or infinite (as float32).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if stored.scaled:
            values = np.empty(stored.array.shape, np.float32, order="F")
            for z in range(stored.depth):
                values[..., z] = stored.plane(z)
        else:
            values = stored.array.astype(np.float32, copy=False)
    finite = sum(int(np.isfinite(values[..., z]).sum()) for z in range(stored.depth))
    if finite < values.size:
        nan = int(np.isnan(values).sum())
        infinite = values.size - finite - nan
        raise refusal(
            name, f"of its {values.size} voxels {nan} are NaN and {infinite} infinite; replace them by a number"
        )
    return values


def labels(stored: Stored, name: str) -> np.ndarray:
    """Return `(X, Y, Z)` integers: of the file's own type, or int32 where it holds whole floats.

    Raises:
        DataError: a value is not a whole number, or none of 32 bits.
    """
    if stored.array.dtype.kind in "iu" and not stored.scaled:
        return stored.array.astype(stored.array.dtype.newbyteorder("="), copy=False)
    values = np.empty(stored.array.shape, np.int32, order="F")
    for z in range(stored.depth):
        with np.errstate(over="ignore", invalid="ignore"):
            plane = stored.plane(z)
            whole = (np.abs(plane - np.rint(plane)) <= _WHOLE) & (np.abs(plane) < 2**31 - 1)
        if not whole.all():
            raise refusal(name, f"expected labels, which are whole numbers, got {plane[~whole][0]:g}; is it the image?")
        values[..., z] = np.rint(plane)
    return values
