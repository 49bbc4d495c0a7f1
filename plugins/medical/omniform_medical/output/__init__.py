"""What is written of segmentations: labels, confidence, DICOM segmentations; whole files or none."""

from omniform_medical.output.dicom_seg import write_dicom_seg
from omniform_medical.output.results import Wanted
from omniform_medical.output.segmentations import (
    confidence_path,
    ending_of,
    segmentation_paths,
    write_confidence,
    write_segmentations,
)

__all__ = [
    "Wanted",
    "confidence_path",
    "ending_of",
    "segmentation_paths",
    "write_confidence",
    "write_dicom_seg",
    "write_segmentations",
]
