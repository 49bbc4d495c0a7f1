"""Segmentations as files: volumes of labels on their inputs' grids, or DICOM segmentations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omniform.errors import ConfigError
from omniform_medical.output.dicom_seg import write_dicom_seg
from omniform_medical.output.files import replaced_folder
from omniform_medical.segmentation import Segmentation, Segmentations
from omniform_medical.writing import OUTPUT_ENDINGS, write_label, write_scalar

__all__ = [
    "confidence_path",
    "ending_of",
    "file_values",
    "segmentation_paths",
    "write_confidence",
    "write_segmentations",
]

_DICOM = ".dcm"
_ENDINGS = (*OUTPUT_ENDINGS, _DICOM)


def write_segmentations(predictions: Segmentations, path: Path, ending: str = ".nii.gz") -> None:
    """Write one case to the file `path` in the format of its ending, several into the folder `path`.

    A folder, also that of one case, has a file `NAME.ENDING` for each case; what else is in it stays. `.dcm` makes
    DICOM segmentations of DICOM inputs (as private as these). All is written, or nothing.

    Raises:
        ConfigError: the ending is not known, or several cases are to go into one file.
        DataError: `.dcm` for an input that is no DICOM series.
    """
    paths = segmentation_paths(predictions, path, ending)
    if ending_of(path):
        _write(predictions.cases[0], predictions, path)
        return
    with replaced_folder(path) as folder:
        for case, target in zip(predictions.cases, paths, strict=True):
            _write(case, predictions, folder / target.name)


def segmentation_paths(predictions: Segmentations, path: Path, ending: str = ".nii.gz") -> list[Path]:
    """Return the file of each case, as `write_segmentations` writes them.

    Raises:
        ConfigError: the ending is not known, several cases are to go into one file, or two have one name.
    """
    if ending_of(path):
        if len(predictions.cases) != 1:
            raise ConfigError(f"expected a folder for {len(predictions.cases)} cases, got the file {path.name!r}")
        return [path]
    if ending not in _ENDINGS:
        raise ConfigError(f"expected an ending of {', '.join(_ENDINGS)}, got {ending!r}")
    names = [case.name for case in predictions.cases]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"expected cases of different names, got {twice!r} twice; segment them one by one")
    return [path / f"{name}{ending}" for name in names]


def ending_of(path: Path) -> str:
    """Return the ending by which one case is written to a file, or `""` for a folder.

    Raises:
        ConfigError: there is another ending, and no folder of that name.
    """
    ending = next((ending for ending in _ENDINGS if path.name.lower().endswith(ending)), "")
    if not ending and path.suffix and not path.is_dir():
        raise ConfigError(f"expected a folder, or a file that ends in {', '.join(_ENDINGS)}; got {path.name!r}")
    return ending


def file_values(label: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    """Return class indices as what stands for them in files, in the smallest unsigned integers that hold them all."""
    table = np.array(values, dtype=np.min_scalar_type(max(values)))
    return table[label]


def confidence_path(path: Path) -> Path:
    """Return where the confidence map goes that belongs to a file of labels."""
    ending = ending_of(path)
    return path.with_name(path.name[: len(path.name) - len(ending)] + "_confidence" + _voxel_ending(ending))


def write_confidence(case: Segmentation, path: Path) -> None:
    """Write the probability of the class chosen as uint8, 255 for 1; `write_scalar` says in which formats."""
    write_scalar(case.confidence, case.like, path)


def _write(case: Segmentation, predictions: Segmentations, path: Path) -> None:
    if ending_of(path) == _DICOM:
        write_dicom_seg(case, predictions.labels, path)
    else:
        write_label(file_values(case.label, predictions.values), case.like, path)


def _voxel_ending(ending: str) -> str:
    return ".nii.gz" if ending == _DICOM else ending
