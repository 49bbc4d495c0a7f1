"""NRRD, MHA and MHD volumes, PNG, TIFF and BMP planes, by SimpleITK."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omniform_medical.geometry import Geometry
from omniform_medical.reading.formats import PLANE_ENDINGS, ending_of
from omniform_medical.reading.metaimage import check_metaimage
from omniform_medical.reading.nifti import DEFLATE_RATIO
from omniform_medical.reading.stored import Stored, check_affine, check_shape, refusal

if TYPE_CHECKING:
    from SimpleITK import ImageFileReader

__all__ = ["read_itk"]

_READERS = {
    ".nrrd": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".png": "PNGImageIO",
    ".tif": "TIFFImageIO",
    ".tiff": "TIFFImageIO",
    ".bmp": "BMPImageIO",
}
_FAILURES = (RuntimeError, MemoryError, UnicodeDecodeError)  # the last where ITK's message quotes a broken file
_LONGEST_HEADER = 2**20  # bytes of text before the voxels of NRRD
_MOST_PIXELS = 2**28  # of a plane: 16384 x 16384


def read_itk(path: Path, name: str) -> Stored:
    """Read a volume or a plane; LPS+ becomes RAS+, a plane of pixels gets Z = 1 and a spacing of 1 mm.

    Raises:
        DataError: the file is truncated, holds colours or complex numbers, or its header is absurd.
    """
    import SimpleITK as sitk  # noqa: N813

    ending = ending_of(path.name)
    data = _data_file(path, ending, name)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[ending])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except _FAILURES:
        raise refusal(name, f"cannot be read: its header is not that of a {ending} file") from None
    flat = ending in PLANE_ENDINGS
    shape = check_shape(reader.GetSize(), name)
    if flat and (shape[2] > 1 or shape[0] * shape[1] > _MOST_PIXELS):
        raise refusal(name, f"holds {shape[2]} pages of {shape[0]} x {shape[1]}, expected one of at most 2^28 pixels")
    affine = check_affine((_plane(shape) if flat else _geometry(reader, shape)).affine, name)
    _check_voxels(reader, ending, data, name)
    if ending == ".bmp":
        _check_bmp(path, shape, name)
    try:
        array = sitk.GetArrayFromImage(reader.Execute())
    except _FAILURES:
        raise refusal(name, "is truncated or corrupt: its voxels cannot be read; copy it anew") from None
    if reader.GetNumberOfComponents() > 1:
        array = _grey(array, name)
    return Stored(array.T.reshape(shape, order="F"), affine)


def _grey(array: np.ndarray, name: str) -> np.ndarray:
    """Return the one channel of a picture whose red, green and blue are the same, as all of BMP's greys are."""
    if (array != array[..., :1]).any():
        raise refusal(name, "is in colours, expected grey values; write each channel to a file")
    return array[..., 0]


def _data_file(path: Path, ending: str, name: str) -> Path:
    """Return the file with the voxels; NRRD files that name another are refused, lest whoever opens them read it."""
    if ending in (".mha", ".mhd"):
        return check_metaimage(path, ending, name)
    with path.open("rb") as file:
        text = file.read(_LONGEST_HEADER)
    if not text:
        raise refusal(name, "is empty")
    header = re.split(rb"\r?\n\r?\n", text, maxsplit=1)[0]
    if ending == ".nrrd" and re.search(rb"^\s*data\s?file\s*:", header, re.IGNORECASE | re.MULTILINE):
        raise refusal(name, "keeps its voxels in another file; write both as one .nrrd file")
    return path


def _check_voxels(reader: ImageFileReader, ending: str, data: Path, name: str) -> None:
    """Refuse what is no grey value, and more voxels than the file can hold, before memory is taken for them."""
    import SimpleITK as sitk  # noqa: N813

    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    components = reader.GetNumberOfComponents()
    if "complex" in kind:
        raise refusal(name, "holds complex numbers, expected real ones; write magnitude or phase alone")
    if components not in ((1, 3) if ending in PLANE_ENDINGS else (1,)):
        raise refusal(
            name, f"holds {components} numbers (colours or channels) for each voxel, expected 1; write each to a file"
        )
    bits = 8 if "8-bit" in kind else 16 if "16-bit" in kind else 32 if "32-bit" in kind else 64
    announced = int(np.prod(np.array(reader.GetSize(), dtype=np.int64))) * bits // 8
    if ending not in PLANE_ENDINGS and announced > DEFLATE_RATIO * data.stat().st_size:
        raise refusal(name, f"is truncated: too short for the {announced} bytes of voxels of its header; copy it anew")


def _check_bmp(path: Path, shape: tuple[int, int, int], name: str) -> None:
    """Refuse a cut BMP file, which ITK would fill up with what lies in memory."""
    with path.open("rb") as file:
        offset, bits, packing = struct.unpack("<10xI14xHI", file.read(34).ljust(34, b"\0"))
    row = (shape[0] * bits + 31) // 32 * 4
    if packing == 0 and max(offset, 34) + row * shape[1] > path.stat().st_size:
        raise refusal(name, f"is truncated: too short for its {shape[0]} x {shape[1]} pixels; copy it anew")


def _geometry(reader: ImageFileReader, shape: tuple[int, int, int]) -> Geometry:
    """Return where a volume lies; axes beyond the third, of 1 voxel, are left out."""
    rank = reader.GetDimension()
    kept = min(rank, 3)
    direction, origin, spacing = np.eye(3), np.zeros(3), np.ones(3)
    direction[:kept, :kept] = np.reshape(reader.GetDirection(), (rank, rank))[:kept, :kept]
    origin[:kept] = reader.GetOrigin()[:kept]
    spacing[:kept] = reader.GetSpacing()[:kept]
    return Geometry.from_lps(shape, origin.tolist(), spacing.tolist(), direction)


def _plane(shape: tuple[int, int, int]) -> Geometry:
    """Return where pixels lie that say nothing of space: 1 mm apart, columns to the left, rows to the back."""
    return Geometry.from_lps(shape, (0, 0, 0), (1, 1, 1), np.eye(3))
