"""How large each label is, as rows for tables."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from omniform.errors import ConfigError
from omniform_medical.output.files import replaced
from omniform_medical.quality import Quality
from omniform_medical.segmentation import Segmentation, Segmentations

__all__ = ["LabelVolume", "check_table", "label_volumes", "write_volumes"]

_ENDINGS = (".csv", ".json")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelVolume:
    """One label of one case.

    Attributes:
        value: what stands for the label in files.
        volume_ml: voxels times the volume of one, in millilitres.
        mean_confidence: of its voxels; `None` where there are none.
        estimated_dice: judged without truth (`omniform_medical.quality`); `None` where there are none.
    """

    case: str
    label: str
    value: int
    voxels: int
    volume_ml: float
    mean_confidence: float | None
    estimated_dice: float | None


def label_volumes(predictions: Segmentations) -> list[LabelVolume]:
    """Return a row for every foreground label of every case."""
    quality = predictions.quality or Quality.unchecked(len(predictions.labels))
    return [row for case in predictions.cases for row in _rows(case, predictions, quality)]


def check_table(path: Path) -> str:
    """Return the ending by which rows are written.

    Raises:
        ConfigError: it is neither `.csv` nor `.json`.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"expected a table of volumes that ends in .csv or .json, got {path.name!r}")
    return path.suffix.lower()


def write_volumes(rows: Iterable[LabelVolume], path: Path) -> None:
    """Write rows to `.csv` or, as a list of objects, to `.json`: the whole file or none of it.

    Raises:
        ConfigError: another ending.
    """
    ending = check_table(path)
    table = [asdict(row) for row in rows]
    with replaced(path) as part:
        if ending == ".json":
            part.write_text(json.dumps(table, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            return
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(LabelVolume)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def _rows(case: Segmentation, predictions: Segmentations, quality: Quality) -> Iterable[LabelVolume]:
    classes = len(predictions.labels)
    voxels, sure = np.zeros(classes, np.int64), np.zeros(classes)
    for label, confidence in zip(case.label, case.confidence, strict=True):  # plane by plane: counting takes memory
        voxels += np.bincount(label.ravel(), minlength=classes)
        sure += np.bincount(label.ravel(), weights=confidence.ravel(), minlength=classes)
    estimates = quality.estimate(case)
    for k in range(1, classes):
        yield LabelVolume(
            case=case.name,
            label=predictions.labels[k],
            value=predictions.values[k],
            voxels=int(voxels[k]),
            volume_ml=float(voxels[k]) * case.like.geometry.voxel_volume,
            mean_confidence=float(sure[k]) / 255 / int(voxels[k]) if voxels[k] else None,
            estimated_dice=None if math.isnan(estimates[k - 1]) else float(estimates[k - 1]),
        )
