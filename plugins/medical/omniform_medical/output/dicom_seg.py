"""DICOM segmentation objects, to stand in an archive beside the series that they were made from.

Such an object repeats patient, study and frame of reference of its source, as the standard demands: the file is as
private as its source. None of it goes anywhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omniform import __version__
from omniform.errors import DataError
from omniform_medical.geometry import Geometry
from omniform_medical.output.files import replaced
from omniform_medical.reading import read_dicom_datasets
from omniform_medical.reading.planes import Plane, guarded, planes_of
from omniform_medical.segmentation import Segmentation

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

__all__ = ["write_dicom_seg"]

_OFF = 0.01  # voxels by which a slice of the source may miss the grid
_SERIES_NUMBER = 900  # far above those that scanners give
_MAY_BE_EMPTY = (  # of patient and study (type 2 in the standard); series that were made anonymous often lack them
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def write_dicom_seg(segmentation: Segmentation, labels: tuple[str, ...], path: Path) -> None:
    """Write a binary DICOM segmentation whose frames are the slices of the source: the whole file or none of it.

    Every foreground label is a segment, also where nothing of it was found, numbered as its class, with the generic
    code *Tissue* (SCT 85756007): what a label is called says not which code it has. The source is
    `segmentation.like.path`; slices without foreground are left out unless all are.

    Raises:
        DataError: the source is no DICOM series, is another than was segmented, or lacks what such an object repeats.
    """
    name = segmentation.name
    datasets = read_dicom_datasets(segmentation.like.path)
    frames = np.stack(
        [
            _frame(segmentation.label, segmentation.like.geometry, plane, name)
            for place, dataset in enumerate(datasets)
            for plane in planes_of(dataset, place, f"slice {place + 1}", name)
        ]
    )
    with _silent(), guarded(name, "its series lacks what a DICOM segmentation repeats of it; write .nii.gz"):
        made = _segmentation(datasets, frames, labels)
    with replaced(path) as part:
        made.save_as(part)


@contextmanager
def _silent() -> Iterator[None]:
    """Silence highdicom, whose log lines quote UIDs."""
    logger = logging.getLogger("highdicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _frame(label: np.ndarray, geometry: Geometry, plane: Plane, name: str) -> np.ndarray:
    """Return the labels under the pixels of a plane, `(rows, columns)`."""
    columns, rows = plane.size
    if plane.position is None or plane.orientation is None or plane.spacing is None:
        if label.shape != (columns, rows, 1):
            raise DataError(f"{name}: expected slices that say where they lie; write .nii.gz")
        return label[..., 0].T
    to_ras = np.array([-1.0, -1.0, 1.0])
    to_index = np.linalg.inv(geometry.affine)
    first = to_index[:3, :3] @ (to_ras * plane.position) + to_index[:3, 3]
    steps = [
        to_index[:3, :3] @ (to_ras * axis * gap) for axis, gap in zip(plane.orientation, plane.spacing, strict=True)
    ]
    columns_along, rows_along = (np.rint(step).astype(int) for step in steps)
    start = np.rint(first).astype(int)
    corner = first + steps[0] * (columns - 1) + steps[1] * (rows - 1)
    last = start + columns_along * (columns - 1) + rows_along * (rows - 1)
    inside = np.all((np.minimum(start, last) >= 0) & (np.maximum(start, last) < label.shape))
    if not inside or max(np.abs(first - start).max(), np.abs(corner - last).max()) > _OFF:
        raise DataError(f"{name}: a slice of its series lies off the grid that was segmented; write .nii.gz")
    across, down = np.arange(columns), np.arange(rows)[:, None]
    return label[tuple(start[axis] + across * columns_along[axis] + down * rows_along[axis] for axis in range(3))]


def _segmentation(datasets: list[Dataset], frames: np.ndarray, labels: tuple[str, ...]):
    from highdicom import UID
    from highdicom.seg import Segmentation as SegmentationObject
    from highdicom.seg import SegmentationTypeValues

    for dataset in datasets:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
    return SegmentationObject(
        source_images=datasets,
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number, label) for number, label in enumerate(labels) if number],
        series_instance_uid=UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="omniform",
        manufacturer_model_name="omniform medical",
        software_versions=__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Made automatically; not checked by a person",
        omit_empty_frames=bool(frames.any()),
    )


def _segment(number: int, label: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=number,
        segment_label=label[:64],  # a long string of DICOM
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name="omniform", family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
    )
