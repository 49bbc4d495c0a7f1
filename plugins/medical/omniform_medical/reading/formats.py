"""What files of images are called."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "BESIDE_ENDINGS",
    "DICOM_ENDINGS",
    "ENDINGS",
    "NIFTI_ENDINGS",
    "PLANE_ENDINGS",
    "VOLUME_ENDINGS",
    "ending_of",
    "is_dicom",
    "is_image",
    "strip_ending",
]

NIFTI_ENDINGS = (".nii.gz", ".nii")
VOLUME_ENDINGS = (".nrrd", ".mha", ".mhd")
PLANE_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
DICOM_ENDINGS = (".dcm", ".ima")

BESIDE_ENDINGS = (
    ".txt",
    ".md",
    ".csv",
    ".json",
    ".xml",
    ".html",
    ".htm",
    ".pdf",
    ".jpg",
    ".jpeg",
    ".png",
    ".gif",
    ".ini",
)
"""The endings of what lies beside slices without being meant as one."""

ENDINGS = (*NIFTI_ENDINGS, *VOLUME_ENDINGS, *PLANE_ENDINGS, *DICOM_ENDINGS, ".zip")
"""The endings of the files that `read_image` takes, besides folders of a DICOM series."""


def ending_of(name: str) -> str:
    """Return the known ending of a file's name in lower case, `""` if it has none."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")


def strip_ending(name: str) -> str:
    """Return a file's name without its known ending."""
    return name[: len(name) - len(ending_of(name))]


def is_image(path: Path) -> bool:
    """Say whether a file has a known ending, or a folder holds a DICOM file directly."""
    if not path.is_dir():
        return bool(ending_of(path.name)) and not path.name.startswith(".")
    return any(is_dicom(file) for file in path.iterdir())


def is_dicom(path: Path) -> bool:
    """Say whether a file begins as DICOM files do (PS3.10: 128 bytes of anything, then DICM)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
