"""What DICOM tags say of each plane of pixels, as numbers, and nothing of whom it shows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from omniform.errors import OmniformError
from omniform_medical.reading.stored import refusal

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Plane", "guarded", "planes_of"]

_MOST_PIXELS = 2**26  # of a plane: 8192 x 8192
_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)

_LOGGER = logging.getLogger("pydicom")
_LOGGER.addHandler(logging.NullHandler())  # else Python prints what no handler takes


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A plane of pixels, in the LPS+ millimetres of DICOM.

    Attributes:
        what: what messages call it.
        file: place of its file among those of the series.
        frame: place within that file.
        size: columns and rows.
        position: `(3,)` centre of the first pixel, or `None`.
        orientation: `(2, 3)` unit vectors along which columns and rows are counted, or `None`.
        spacing: between columns and between rows, or `None`.
        thickness: what to take for the spacing of planes where there is one plane alone.
        slope, intercept: from stored values to what is meant.
    """

    what: str
    file: int
    frame: int
    size: tuple[int, int]
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float] | None
    thickness: float
    slope: float
    intercept: float


@contextmanager
def guarded(name: str, reason: str) -> Iterator[None]:
    """Turn whatever pydicom raises into a `DataError` with this reason, and silence it.

    Its messages, warnings and log lines quote the values of tags, which may name people.
    """
    heard = _LOGGER.propagate
    _LOGGER.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OmniformError:
        raise
    except Exception:
        raise refusal(name, reason) from None
    finally:
        _LOGGER.propagate = heard


def planes_of(dataset: Dataset, file: int, what: str, name: str) -> list[Plane]:
    """Return the planes of a DICOM object: one, or the frames of an enhanced one.

    Raises:
        DataError: it has colours, frames without places of their own, or a tag that does not hold numbers.
    """
    with guarded(name, f"{what} cannot be parsed; export it anew"):
        frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
        count = int(_number((dataset,), "NumberOfFrames", 1, what, name))
        if "ModalityLUTSequence" in dataset:
            raise refusal(name, f"{what} maps its values by a table, expected RescaleSlope; export it without")
        if not frames and count == 1:
            return [_plane((dataset,), dataset, file, 0, what, name)]
        if len(frames) != count:
            raise refusal(
                name,
                f"{what} has {count} frames, of which {len(frames)} say where they lie; export it as single slices",
            )
        shared = dataset.get("SharedFunctionalGroupsSequence") or ()
        return [
            _plane(_macros(frame, *shared), dataset, file, place, f"{what}, frame {place + 1},", name)
            for place, frame in enumerate(frames)
        ]


def _macros(*groups: Dataset) -> tuple[Dataset, ...]:
    """Return the items of functional groups that hold geometry and scaling; a frame's own come first."""
    return tuple(group[macro].value[0] for group in groups for macro in _MACROS if group.get(macro))


def _plane(tags: tuple[Dataset, ...], dataset: Dataset, file: int, frame: int, what: str, name: str) -> Plane:
    if _number((dataset,), "SamplesPerPixel", 1, what, name) != 1 or dataset.get("PhotometricInterpretation") in (
        "PALETTE COLOR",
        "RGB",
    ):
        raise refusal(name, f"{what} is in colours, expected grey values")
    position = _numbers(tags, "ImagePositionPatient", 3, what, name)
    orientation = _numbers(tags, "ImageOrientationPatient", 6, what, name)
    spacing = _numbers(tags, "PixelSpacing", 2, what, name)
    if spacing is None and position is None:
        spacing = _numbers(tags, "ImagerPixelSpacing", 2, what, name)
    gaps = (_number(tags, keyword, 0.0, what, name) for keyword in ("SliceThickness", "SpacingBetweenSlices"))
    return Plane(
        what=what,
        file=file,
        frame=frame,
        size=_size(dataset, what, name),
        position=position,
        orientation=None if orientation is None else _unit_vectors(orientation.reshape(2, 3), what, name),
        spacing=None if spacing is None else (float(spacing[1]), float(spacing[0])),  # DICOM: between rows first
        thickness=next((gap for gap in gaps if gap > 0), 1.0),
        slope=_number(tags, "RescaleSlope", 1.0, what, name),
        intercept=_number(tags, "RescaleIntercept", 0.0, what, name),
    )


def _size(dataset: Dataset, what: str, name: str) -> tuple[int, int]:
    columns, rows = (int(_number((dataset,), keyword, 0, what, name)) for keyword in ("Columns", "Rows"))
    if min(columns, rows) < 1 or columns * rows > _MOST_PIXELS:
        raise refusal(name, f"{what} announces {columns} x {rows} pixels, expected 1 to 2^26; export it anew")
    return columns, rows


def _unit_vectors(orientation: np.ndarray, what: str, name: str) -> np.ndarray:
    gram = orientation @ orientation.T
    if not np.allclose(gram, np.eye(2), atol=5e-3):
        raise refusal(name, f"{what} has an ImageOrientationPatient that is no pair of perpendicular unit vectors")
    return orientation / np.sqrt(np.diag(gram))[:, None]


def _number(tags: tuple[Dataset, ...], keyword: str, default: float, what: str, name: str) -> float:
    values = _numbers(tags, keyword, 1, what, name)
    return default if values is None else float(values[0])


def _numbers(tags: tuple[Dataset, ...], keyword: str, count: int, what: str, name: str) -> np.ndarray | None:
    """Return the `count` finite numbers of a tag, `None` where it is absent or empty; never tell what it holds."""
    with guarded(name, f"{what} does not hold {count} numbers in {keyword}; export it anew"):
        held = next((item[keyword].value for item in tags if keyword in item), None)
        if held is None or not np.size(held) or (isinstance(held, str) and not held.strip()):
            return None
        values = np.array(held, dtype=np.float64).reshape(-1)
        if len(values) != count or not np.isfinite(values).all():
            raise ValueError(keyword)
        return values
