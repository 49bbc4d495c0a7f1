"""One examination: its files, and what they hold once read.

C = channels, (X, Y, Z) = voxels along the axes of the files, K = classes
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omniform.errors import DataError
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image

__all__ = ["MAX_CLASSES", "MAX_VALUE", "Case", "Volume", "read_volume"]

MAX_CLASSES = 255
"""Class indices are uint8, and one of its 256 values stands for voxels whose value no class has."""

MAX_VALUE = (1 << 24) - 1
"""The highest value of a label: a table with a place for each value turns values into classes."""

_UNKNOWN = 255


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A case in memory, in the order of its files' axes.

    Attributes:
        image: `(C, X, Y, Z)` float32, one channel per file.
        label: `(X, Y, Z)` uint8 class indices `0 .. K - 1` (places in the cohort's labels, 0 the background), or
            `None`.
        like: the first channel's `Image`, whose grid and header the output takes; its array is not used.
    """

    image: np.ndarray
    label: np.ndarray | None
    like: Image

    @property
    def geometry(self) -> Geometry:
        return self.like.geometry


@dataclass(frozen=True, slots=True)
class Case:
    """Files of one examination: a channel (modality, sequence) each, all on one grid, and the labels on it if known."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None


def read_volume(case: Case, labels: tuple[str, ...], values: tuple[int, ...]) -> Volume:
    """Read the files of a case and check that they belong together.

    Raises:
        DataError: a file cannot be read, a channel or the label does not lie on the first channel's grid, or the label
            has a value that stands for no class. The message names the case.
    """
    from omniform_medical.reading import read_image, read_label

    try:
        images = [read_image(path) for path in case.images]
        for channel, image in enumerate(images[1:], start=1):
            _refuse_other_grid(f"channel {channel}", "channel 0", images[0], image)
        classes = None
        if case.label is not None:
            label = read_label(case.label)
            _refuse_other_grid("the label", "the image", images[0], label)
            classes = _classes(label.array, labels, values)
    except DataError as error:
        raise DataError(f"case {case.name!r}: {error}") from error
    # a single channel, the usual case, is not copied
    image = images[0].array[None] if len(images) == 1 else np.stack([image.array for image in images])
    return Volume(image, classes, images[0])


def _refuse_other_grid(name: str, reference_name: str, reference: Image, image: Image) -> None:
    if difference := reference.geometry.differs(image.geometry):
        raise DataError(
            f"{name} does not lie on the grid of {reference_name}: {difference}; resample it onto that grid"
        )


def _classes(array: np.ndarray, labels: tuple[str, ...], values: tuple[int, ...]) -> np.ndarray:
    """Return the place in `values` of every voxel's value, uint8, of the same shape."""
    highest = max(values)
    table = np.full(highest + 1, _UNKNOWN, np.uint8)
    table[list(values)] = np.arange(len(values))
    if array.min() < 0 or array.max() > highest:
        _refuse_values(array, labels, values)
    classes = np.empty(array.shape, np.uint8, order="F")
    for z in range(array.shape[2]):  # an index of the whole volume would take eight bytes a voxel
        classes[..., z] = table[array[..., z]]
    if classes.max() == _UNKNOWN:
        _refuse_values(array, labels, values)
    return classes


def _refuse_values(array: np.ndarray, labels: tuple[str, ...], values: tuple[int, ...]) -> None:
    found, counts = np.unique(array, return_counts=True)
    strange = [(int(v), int(n)) for v, n in zip(found, counts, strict=True) if int(v) not in values]
    value, count = strange[0]
    others = f" and {len(strange) - 1} other unknown values" if len(strange) > 1 else ""
    known = ", ".join(f"{value}={name}" for value, name in zip(values[:9], labels, strict=False))
    raise DataError(
        f"{count} {'voxel has' if count == 1 else 'voxels have'} the label {value}{others}, expected {known}"
        f"{', ...' if len(values) > 9 else ''}; correct the file, or name every value by --labels"
    )
