"""NIfTI-1 and NIfTI-2 in one file, plain or gzipped; what places voxels in space is nibabel's reading of the header.

The voxels are read here, not by nibabel, so that a file is never unpacked beyond what its header announces, and no
memory is taken for voxels that the file is too short to hold.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from omniform_medical.reading.stored import Stored, check_affine, check_shape, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nibabel.nifti1 import Nifti1Header

__all__ = ["DEFLATE_RATIO", "read_nifti"]

DEFLATE_RATIO = 1032  # bytes that one byte of DEFLATE unpacks to at most

_SIZES = {348: "Nifti1Header", 540: "Nifti2Header"}
_MARKS = {348: b"n+1", 540: b"n+2"}
_NUMBERS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_OTHERS = {
    1: "single bits",
    32: "complex numbers",
    128: "RGB colours",
    1536: "128-bit numbers",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}
_PLACE = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
_PLACE += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the spatial bits of xyzt_units: unknown, m, mm, µm
_LONGEST_PREAMBLE = 2**28  # bytes before the first voxel, extensions among them
_CHUNK = 2**24

_silent = logging.Logger("silent", level=logging.CRITICAL + 1)


def read_nifti(path: Path, name: str) -> Stored:
    """Read a volume; a plane gets Z = 1.

    Raises:
        DataError: the file is truncated or no NIfTI file, or its header is absurd.
    """
    try:
        with _opened(path) as file:
            header = _header(file, name)
            shape = check_shape(_shape(header, name), name)
            dtype = _dtype(header, name)
            affine = check_affine(_affine(header, name), name)
            slope, intercept = _scaling(header, name)
            _skip(file, header, name)
            array = _voxels(file, dtype, shape, _capacity(path), name)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise refusal(name, "is truncated or corrupt: it cannot be unpacked; copy it anew") from None
    return Stored(array, affine, slope, intercept, _geometry_only(header))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, through gzip if it is packed, whatever its ending."""
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not packed:
            yield plain
            return
        with gzip.GzipFile(fileobj=plain, mode="rb") as unpacked:
            yield unpacked  # pyright: ignore[reportReturnType]


def _capacity(path: Path) -> int:
    """Return how many bytes the file can unpack to at most."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return path.stat().st_size * (DEFLATE_RATIO if packed else 1)


def _header(file: BinaryIO, name: str) -> Nifti1Header:
    """Read the header without nibabel's repairs; they come when its values have been checked."""
    import nibabel

    block = file.read(4)
    sizes = {int.from_bytes(block, "little"): "<", int.from_bytes(block, "big"): ">"}
    size = next((size for size in _SIZES if size in sizes), None)
    if len(block) < 4 or size is None:
        raise refusal(name, "is empty" if not block else "is no NIfTI file: its header does not begin as one")
    block += file.read(size - 4)
    if len(block) < size:
        raise refusal(name, f"is truncated: {len(block)} bytes of the {size} of a header; copy it anew")
    header = getattr(nibabel, _SIZES[size])(block, endianness=sizes[size], check=False)
    mark = header["magic"].item()
    if mark in (b"ni1", b"ni2"):
        raise refusal(name, "is half of a NIfTI pair; write both halves as one .nii file")
    if mark != _MARKS[size]:
        raise refusal(name, "is no NIfTI file: its header lacks the mark of one")
    return header


def _shape(header: Nifti1Header, name: str) -> list[int]:
    dim = header["dim"].tolist()
    if not 1 <= dim[0] <= 7:
        raise refusal(name, f"its header announces {dim[0]} axes, expected 2 or 3")
    return dim[1 : dim[0] + 1]


def _dtype(header: Nifti1Header, name: str) -> np.dtype:
    code = int(header["datatype"])
    if code not in _NUMBERS:
        what = _OTHERS.get(code, f"numbers of an unknown type ({code})")
        raise refusal(name, f"holds {what}, expected real numbers; write each channel to a file")
    return np.dtype(_NUMBERS[code]).newbyteorder(header.endianness)


def _affine(header: Nifti1Header, name: str) -> np.ndarray:
    """Return nibabel's affine in millimetres: sform, else qform, else the spacing about the middle."""
    from nibabel.spatialimages import HeaderDataError

    unit = _MILLIMETRES.get(int(header["xyzt_units"]) & 7)
    if unit is None:
        raise refusal(name, "its header names no known unit of length; write it in millimetres")
    rank = min(int(header["dim"][0]), 3)
    spacing = header["pixdim"][1 : rank + 1].copy()  # where it is 0, nibabel repairs it to 1
    try:
        with np.errstate(all="ignore"):
            header.check_fix(logger=_silent)
            affine = np.array(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        raise refusal(name, "its header is not consistent; write it anew") from None
    if int(header["sform_code"]) == 0 and not (np.isfinite(spacing) & (spacing != 0)).all():
        shown = " x ".join(f"{value:g}" for value in spacing)
        raise refusal(name, f"its header says a spacing of {shown} mm; write its affine anew")
    affine[:3] *= unit
    return affine


def _scaling(header: Nifti1Header, name: str) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError:
        raise refusal(name, "its header scales voxels by numbers that are not finite; write it anew") from None
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept or 0.0))


def _skip(file: BinaryIO, header: Nifti1Header, name: str) -> None:
    """Go to the first voxel."""
    offset, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4
    if not (least <= offset <= _LONGEST_PREAMBLE and offset.is_integer()):
        raise refusal(name, f"its header puts the first voxel at byte {offset:g}, expected {least} or a little more")
    file.seek(int(offset))


def _voxels(file: BinaryIO, dtype: np.dtype, shape: tuple[int, int, int], capacity: int, name: str) -> np.ndarray:
    """Read the voxels, first axis fastest, and verify the checksum of a packed file that ends with them."""
    announced = math.prod(shape) * dtype.itemsize
    begin = file.tell()
    if begin + announced > capacity:
        shown = " x ".join(map(str, shape))
        raise refusal(name, f"is truncated: too short for the {shown} voxels of its header; copy it anew")
    array = np.empty(math.prod(shape), dtype)
    view = memoryview(array.view(np.uint8).data)
    for start in range(0, announced, _CHUNK):
        part = view[start : start + _CHUNK]
        if file.readinto(part) < len(part):  # pyright: ignore[reportAttributeAccessIssue]
            raise refusal(name, f"is truncated: its header announces {announced} bytes of voxels; copy it anew")
    file.read(1)
    return array.reshape(shape, order="F")


def _geometry_only(header: Nifti1Header) -> Nifti1Header:
    """Return a new header with what places the voxels in space; descriptions and names stay behind."""
    kept = type(header)(endianness="<")
    for field in _PLACE:
        kept[field] = header[field]
    kept["pixdim"][:4] = header["pixdim"][:4]
    kept["xyzt_units"] = int(header["xyzt_units"]) & 7
    return kept
