"""A volume in memory with where it lies and what its file's header said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omniform_medical.geometry import Geometry

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["Image"]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One channel of a volume.

    Attributes:
        array: `(X, Y, Z)` in the order of the file's own axes; intensities as float32, labels as integers.
        geometry: where it lies.
        path: the file, DICOM folder or archive it came from.
        header: of a NIfTI file, with nothing but its geometry, kept so that what is written on its grid has the same
            affine to the bit. No other part of any header is kept: names of people never leave the reader.
    """

    array: np.ndarray
    geometry: Geometry
    path: Path
    header: Nifti1Header | None = None
