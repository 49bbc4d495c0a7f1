"""DICOM series: a folder of slices, or a multi-frame file.

Messages name slices by their place in the folder: files are often called by patient or UID.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omniform.errors import DataError
from omniform_medical.reading.formats import BESIDE_ENDINGS, is_dicom
from omniform_medical.reading.planes import Plane, guarded, planes_of
from omniform_medical.reading.stacking import stack
from omniform_medical.reading.stored import Stored, check_affine, check_shape, refusal

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_dicom", "read_series"]

_NO_IMAGES = ("Segmentation Storage", "RT Dose Storage")  # they have pixels, but show nothing that was measured
_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    path: Path
    what: str
    header: Dataset  # without pixels


def read_dicom(path: Path, name: str) -> Stored:
    """Read the volume of a series, rescaled slice by slice to what is meant (such as Hounsfield units).

    Raises:
        DataError: there is no series or several, it is no volume, or its pixels cannot be decoded.
    """
    files, planes, affine, shape = _volume(path, name)
    array = np.empty(0, np.float32)
    opened, dataset = -1, None
    for z, plane in enumerate(planes):
        if plane.file != opened:
            opened, dataset = plane.file, _parsed(files[plane.file].path, plane.what, name)
        assert dataset is not None
        pixels = _pixels(dataset, plane, name)
        if z == 0:  # not before a plane was found to be as large as announced
            array = np.empty(shape, np.float32, order="F")
        array[..., z] = pixels
    return Stored(array, affine)


def read_series(path: Path, name: str) -> list[Dataset]:
    """Return the whole datasets of a series in the order of the volume's slices; a multi-frame file is one.

    Raises:
        DataError: as `read_dicom`, but for pixels, which are not decoded.
    """
    files, planes, *_ = _volume(path, name)
    order = dict.fromkeys(plane.file for plane in planes)
    return [_parsed(files[place].path, files[place].what, name) for place in order]


def _volume(path: Path, name: str) -> tuple[list[_File], list[Plane], np.ndarray, tuple[int, int, int]]:
    files = _one_series(_images(path, name), name)
    planes = [plane for place, file in enumerate(files) for plane in planes_of(file.header, place, file.what, name)]
    planes, geometry = stack(planes, name)
    return files, planes, check_affine(geometry.affine, name), check_shape(geometry.shape, name)


def _images(path: Path, name: str) -> list[_File]:
    """Return the files that are images; reports, plans, segmentations and doses are left out."""
    paths = sorted(file for file in path.rglob("*") if _may_be_slice(file)) if path.is_dir() else [path]
    if not any(map(is_dicom, paths)):
        raise refusal(name, "holds no DICOM file; give a folder with the slices of one series, or a file")
    files = []
    for number, file in enumerate(paths, start=1):
        what = f"file {number} of {len(paths)} (by name)" if path.is_dir() else "it"
        if not is_dicom(file):
            raise refusal(name, f"{what} is truncated or no DICOM file; copy it anew, or take it out")
        header = _parsed(file, what, name, pixels=False)
        if _is_image(header, what, name):
            files.append(_File(file, what, header))
    if not files:
        raise refusal(name, f"none of its {len(paths)} DICOM files is an image; give a folder with slices")
    return files


def _may_be_slice(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in BESIDE_ENDINGS


def _is_image(header: Dataset, what: str, name: str) -> bool:
    with guarded(name, f"{what} does not say what it is; export it anew"):
        kind = (header.file_meta.get("MediaStorageSOPClassUID") or header.SOPClassUID).name
    if kind.endswith("Image Storage") and not ("Rows" in header and "Columns" in header):
        raise refusal(name, f"{what} is truncated, or an image without Rows and Columns; copy it anew")
    return kind not in _NO_IMAGES and "Rows" in header


def _one_series(files: list[_File], name: str) -> list[_File]:
    """Refuse several series, told apart by number alone."""
    with guarded(name, "its files do not say of which series they are; export it anew"):
        series = {str(file.header.get("SeriesInstanceUID", "")): file.header for file in files}
    if len(series) == 1:
        return files
    numbers = ", ".join(sorted(_series_number(header) for header in series.values()))
    raise refusal(name, f"holds {len(series)} series (numbers {numbers}), expected one; give a folder for each")


def _series_number(header: Dataset) -> str:
    try:
        with guarded("", ""):
            return str(int(header.SeriesNumber))
    except DataError:
        return "unknown"


def _parsed(path: Path, what: str, name: str, *, pixels: bool = True) -> Dataset:
    """Parse a file, whose bytes are all that it may take of memory."""
    from pydicom import dcmread
    from pydicom.filereader import read_dataset

    with guarded(name, f"{what} is truncated or corrupt: it cannot be parsed; copy it anew"):
        stream = io.BytesIO(path.read_bytes())
        stream.seek(132)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") == _DEFLATED:  # pydicom would unpack it without limit
            raise refusal(name, f"{what} is deflated as a whole; unpack it first (with dcmtk: dcmconv +te)")
        stream.seek(0)
        return dcmread(stream, stop_before_pixels=not pixels)


def _pixels(dataset: Dataset, plane: Plane, name: str) -> np.ndarray:
    """Decode a plane to what is meant, `(X, Y)` float32."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    with guarded(name, f"{plane.what} is packed by an unknown method; unpack it first (with dcmtk: dcmdjpeg)"):
        method = dataset.file_meta.TransferSyntaxUID
        if not get_decoder(method).is_available:
            raise refusal(name, f"{plane.what} is packed as {method.name}, which needs pylibjpeg; install or unpack it")
    reason = "is truncated, corrupt or packed in a way that cannot be decoded; copy it anew, or unpack it (dcmdjpeg)"
    with guarded(name, f"{plane.what} {reason}"):
        stored = pixel_array(dataset, index=plane.frame, raw=True)
        if stored.shape != plane.size[::-1]:
            raise ValueError(stored.shape)
        return (stored.T * plane.slope + plane.intercept).astype(np.float32)
