"""Write arrays on the grid of the image that they were made from, so that they lie exactly over it.

X, Y, Z = voxels along the image's axes
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from omniform.errors import ConfigError, DataError
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

__all__ = ["OUTPUT_ENDINGS", "check_output", "write_label", "write_scalar"]

OUTPUT_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")
_PIXELS = np.diag([-1.0, -1.0, 1.0, 1.0])  # the only grid that a PNG can stand for: `reading.itk`


def write_label(array: np.ndarray, like: Image, path: Path) -> None:
    """Write labels `(X, Y, Z)` as uint8, or uint16 where one is above 255: the whole file or none of it.

    Raises:
        ConfigError: the file's ending is none of `OUTPUT_ENDINGS`, or cannot hold such a volume.
        DataError: a label is negative or above 65535.
    """
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise DataError(f"{path}: expected labels from 0 to 65535, got {low} to {high}; give them other values")
    _write(array.astype(np.uint8 if high <= 255 else np.uint16, copy=False), like, path)


def write_scalar(array: np.ndarray, like: Image, path: Path) -> None:
    """Write a map `(X, Y, Z)` of float32 or uint8 as it is: the whole file or none of it.

    Raises:
        ConfigError: the file's ending is none of `OUTPUT_ENDINGS`, or cannot hold such a volume.
    """
    if array.dtype not in (np.float32, np.uint8):
        raise ValueError(f"expected float32 or uint8, got {array.dtype}")
    _write(array, like, path)


def check_output(path: Path) -> str:
    """Return the ending by which a volume is written.

    Raises:
        ConfigError: it is none of `OUTPUT_ENDINGS`.
    """
    ending = next((ending for ending in OUTPUT_ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise ConfigError(f"expected an output that ends in {', '.join(OUTPUT_ENDINGS)}, got {path.name!r}")
    return ending


def _write(array: np.ndarray, like: Image, path: Path) -> None:
    if array.shape != like.geometry.shape:
        raise ValueError(f"expected an array of {like.geometry.shape}, got {array.shape}")
    ending = check_output(path)
    if ending == ".png":
        _check_png(array, like.geometry, path)
    with _replaced(path, ending) as part:
        if ending in (".nii", ".nii.gz"):
            _write_nifti(array, like, part)
        else:
            _write_itk(array, like.geometry, part, plane=ending == ".png")


@contextmanager
def _replaced(path: Path, ending: str) -> Iterator[Path]:
    """Yield a new file beside `path` that takes its place when all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.partial{ending}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write_nifti(array: np.ndarray, like: Image, path: Path) -> None:
    """Write header, an empty extension and voxels; the same arrays give the same bytes."""
    header = _header(like)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    with path.open("wb") as plain:
        if path.name.endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=plain, mode="wb", compresslevel=6, mtime=0) as packed:
                _write_voxels(header.binaryblock, array, cast(BinaryIO, packed).write)
        else:
            _write_voxels(header.binaryblock, array, plain.write)


def _write_voxels(header: bytes, array: np.ndarray, write: Callable[[bytes], object]) -> None:
    write(header + bytes(4))
    little = array.dtype.newbyteorder("<")
    for z in range(array.shape[2]):
        write(array[..., z].astype(little, copy=False).tobytes(order="F"))


def _header(like: Image) -> Nifti1Header:
    """Return the geometry of the image's own header to the bit, or one for its affine."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    if like.header is not None:
        return like.header.copy()
    header = (Nifti1Header if max(like.geometry.shape) < 2**15 else Nifti2Header)(endianness="<")
    header.set_data_shape(like.geometry.shape)
    header.set_xyzt_units("mm")
    header.set_sform(like.geometry.affine, code="scanner")
    header.set_qform(like.geometry.affine, code="scanner" if _is_rigid(like.geometry) else "unknown")
    return header


def _is_rigid(geometry: Geometry) -> bool:
    """Say whether the axes are perpendicular: a qform holds no shear."""
    _, _, direction = geometry.lps()
    return bool(np.allclose(direction.T @ direction, np.eye(3), atol=1e-4))


def _write_itk(array: np.ndarray, geometry: Geometry, path: Path, *, plane: bool) -> None:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(array[..., 0].T if plane else array.T)
    if not plane:
        origin, spacing, direction = geometry.lps()
        image.SetOrigin(origin.tolist())
        image.SetSpacing(spacing.tolist())
        image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)


def _check_png(array: np.ndarray, geometry: Geometry, path: Path) -> None:
    plain = np.array_equal(geometry.affine, _PIXELS)
    if array.shape[2] > 1 or array.dtype.kind != "u" or not plain:
        raise ConfigError(
            f"{path.name}: a PNG holds whole numbers of one plane with pixels of 1 mm, this is more; write .nii.gz"
        )
