"""All files that a segmentation may leave: labels, confidence, volumes and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omniform.errors import ConfigError
from omniform_medical.output.files import replaced_folder
from omniform_medical.output.segmentations import (
    confidence_path,
    ending_of,
    segmentation_paths,
    write_confidence,
    write_segmentations,
)
from omniform_medical.segmentation import Segmentations

__all__ = ["Wanted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be written, and where; checked before any work.

    Attributes:
        out: the file of one case, or a folder.
        ending: of the files in a folder.
        confidence: whether a map `NAME_confidence` goes beside each file of labels.
        volumes: a table of volumes.
        overlay: a folder for a picture of each case.

    Raises:
        ConfigError: an ending is not known, or a folder is a file.
    """

    out: Path
    ending: str = ".nii.gz"
    confidence: bool = False
    volumes: Path | None = None
    overlay: Path | None = None

    def __post_init__(self) -> None:
        from omniform_medical.volumes import check_table

        ending_of(self.out)
        if self.volumes is not None:
            check_table(self.volumes)
        for folder in (self.overlay, None if ending_of(self.out) else self.out):
            if folder is not None and folder.exists() and not folder.is_dir():
                raise ConfigError(f"expected a folder, {folder.name!r} is a file; name another or take it away")

    def write(self, predictions: Segmentations) -> list[Path]:
        """Write it; return the files of labels.

        Raises:
            ConfigError: several cases are to go into one file.
            DataError: DICOM segmentations of inputs that are no DICOM series.
        """
        from omniform_medical.volumes import label_volumes, write_volumes

        paths = segmentation_paths(predictions, self.out, self.ending)
        write_segmentations(predictions, self.out, self.ending)
        if self.confidence:
            for case, path in zip(predictions.cases, paths, strict=True):
                write_confidence(case, confidence_path(path))
        if self.volumes is not None:
            write_volumes(label_volumes(predictions), self.volumes)
        if self.overlay is not None:
            _write_overlays(predictions, self.overlay)
        return paths


def _write_overlays(predictions: Segmentations, path: Path) -> None:
    from omniform_medical.overlays import write_overlay

    with replaced_folder(path) as folder:
        for case in predictions.cases:
            write_overlay(case, predictions.labels, folder / f"{case.name}.png")
