"""Read one image or label of any format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.reading.archive import unpacked
from omniform_medical.reading.dicom import read_dicom, read_series
from omniform_medical.reading.formats import DICOM_ENDINGS, ENDINGS, NIFTI_ENDINGS, ending_of, is_dicom
from omniform_medical.reading.itk import read_itk
from omniform_medical.reading.nifti import read_nifti
from omniform_medical.reading.stored import Stored, intensities, labels, refusal

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_dicom_datasets", "read_image", "read_label"]


def read_image(path: str | Path) -> Image:
    """Read the intensities of a volume as float32.

    Formats: NIfTI, NRRD, MHA, MHD; PNG, TIFF and BMP planes of grey values (Z = 1, 1 mm); a DICOM file, a folder with
    a DICOM series; a zip of a series or of one file.

    Raises:
        DataError: the file cannot be read, is no volume of real numbers, or has voxels that are NaN or infinite.
    """
    stored = _read(Path(path))
    return _image(intensities(stored, str(path)), stored, Path(path))


def read_label(path: str | Path) -> Image:
    """Read a volume of labels as integers; formats are those of `read_image`.

    Raises:
        DataError: the file cannot be read, or a voxel is not a whole number.
    """
    stored = _read(Path(path))
    return _image(labels(stored, str(path)), stored, Path(path))


def read_dicom_datasets(path: str | Path) -> list[Dataset]:
    """Return the datasets that a DICOM folder, file or zip holds, sorted as the slices of `read_image`.

    They name the patient: for objects that are to stand beside them in an archive (DICOM-SEG), and nothing else.

    Raises:
        DataError: they are no volume, or cannot be parsed.
    """
    with _opened(Path(path)) as file:
        return read_series(file, str(path))


def _image(array: np.ndarray, stored: Stored, path: Path) -> Image:
    x, y, z = array.shape
    return Image(array, Geometry((x, y, z), stored.affine), path, stored.header)


def _read(path: Path) -> Stored:
    name = str(path)
    with _opened(path) as file:
        ending = ending_of(file.name)
        if file.is_dir() or ending in DICOM_ENDINGS:
            return read_dicom(file, name)
        if ending in NIFTI_ENDINGS:
            return read_nifti(file, name)
        if ending:
            return read_itk(file, name)
        if is_dicom(file):
            return read_dicom(file, name)
        raise refusal(name, f"expected a folder of DICOM slices, or a file that ends in {', '.join(ENDINGS)}")


@contextmanager
def _opened(path: Path) -> Iterator[Path]:
    """Yield the file or folder, unpacked where it is an archive; say in one line what the system says of it."""
    name = str(path)
    try:
        if path.is_dir() or ending_of(path.name) != ".zip":
            path.stat()
            yield path
            return
        with unpacked(path, name) as folder:
            yield _sole(folder, name)
    except OSError as error:
        raise refusal(name, f"cannot be read: {error.strerror or 'the file is broken'}") from None


def _sole(folder: Path, name: str) -> Path:
    """Return the one file that an archive holds, or the folder where it holds a DICOM series."""
    files = sorted(folder.iterdir())
    volumes = [file for file in files if ending_of(file.name) not in ("", *DICOM_ENDINGS)]
    if not files:
        raise refusal(name, "holds no file")
    if volumes and not any(map(is_dicom, files)):
        if len(volumes) > 1:
            raise refusal(name, f"holds {len(volumes)} images, expected one; unpack it and give each")
        return volumes[0]
    return folder
