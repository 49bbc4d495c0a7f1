"""What a segmenter says of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from omniform_medical.image import Image

if TYPE_CHECKING:
    from omniform_medical.quality import Quality

__all__ = ["Segmentation", "Segmentations"]


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The segmentation of one case on its file's own grid and axes.

    Attributes:
        name: of the case.
        label: `(X, Y, Z)` uint8 class indices (places in `labels`, 0 the background).
        confidence: `(X, Y, Z)` uint8: the calibrated probability of the class chosen, 255 for 1.
        like: whose grid and header files take.
    """

    name: str
    label: np.ndarray
    confidence: np.ndarray
    like: Image


@dataclass(frozen=True, slots=True, eq=False)
class Segmentations:
    """Segmentations of several cases.

    Attributes:
        cases: one each.
        labels: names of the classes; 0 is the background.
        values: what stands for each class in files.
        quality: how to judge them without truth, if that was checked on validation.
    """

    cases: Sequence[Segmentation]
    labels: tuple[str, ...]
    values: tuple[int, ...]
    quality: Quality | None = None
