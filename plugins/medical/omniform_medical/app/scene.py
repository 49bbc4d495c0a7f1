"""What the viewer shows: an image along canonical axes, and what networks, floors and readers say of it.

C = channels, K = classes, X, Y, Z = voxels along canonical axes: to the right, to the front, up
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from omniform_medical.case import Volume
from omniform_medical.prepared import Frame
from omniform_medical.preprocessing import make_frame
from omniform_medical.quality import Quality, dice
from omniform_medical.segmentation import Segmentation, Segmentations
from omniform_medical.volumes import label_volumes

__all__ = ["TRUTH", "Layer", "Scene", "layer_of", "make_scene"]

TRUTH = "truth"


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What somebody says of a case, on its file's own grid.

    Attributes:
        label: `(X, Y, Z)` class indices.
        confidence: `(X, Y, Z)` uint8, 255 for 1; `None` of the truth.
        sure: mean confidence of each foreground label; NaN where there is none.
        estimated: Dice of each foreground label, judged without truth; NaN where there is none.
    """

    label: np.ndarray
    confidence: np.ndarray | None
    sure: np.ndarray
    estimated: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A case to look at; arrays are views along canonical axes.

    Attributes:
        image: `(C, X, Y, Z)`.
        spacing: millimetres along canonical axes.
        labels: names of the classes.
        layers: by name.
    """

    name: str
    image: np.ndarray
    channels: tuple[str, ...]
    frame: Frame
    spacing: tuple[float, float, float]
    labels: tuple[str, ...]
    layers: Mapping[str, Layer]

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.image.shape[1:]
        return x, y, z

    @property
    def foreground(self) -> np.ndarray:
        """Where the truth has a label, or any layer where there is no truth, `(X, Y, Z)`."""
        shown = [self.layers[TRUTH]] if TRUTH in self.layers else self.layers.values()
        return np.logical_or.reduce([np.zeros(self.shape, bool), *(layer.label > 0 for layer in shown)])

    def position(self, at: tuple[int, int, int]) -> tuple[float, float, float]:
        """Return where a voxel lies in space, in millimetres, RAS+."""
        index = np.empty(4)
        index[3] = 1.0
        for axis, flipped, place, size in zip(self.frame.axes, self.frame.flips, at, self.shape, strict=True):
            index[axis] = size - 1 - place if flipped else place
        x, y, z = (self.frame.geometry.affine @ index)[:3].tolist()
        return x, y, z

    def table(self) -> pd.DataFrame:
        """Return a row for each foreground label of each layer: its volume, and how sure and how good it is."""
        classes, voxel = len(self.labels), self.frame.geometry.voxel_volume
        truth = self.layers.get(TRUTH)
        rows = []
        for name, layer in self.layers.items():
            volumes = np.bincount(layer.label.ravel(), minlength=classes)[1:] * voxel
            measures = {"mL": volumes, "confidence": layer.sure, "estimated Dice": layer.estimated}
            if truth is not None and layer is not truth:
                measures["Dice"] = dice(layer.label, truth.label, classes)
            rows.append(pd.DataFrame({"label": self.labels[1:], "by": name, **measures}))
        table = pd.concat(rows, ignore_index=True)
        order = {label: place for place, label in enumerate(self.labels)}
        return table.sort_values("label", key=lambda names: names.map(order), kind="stable").dropna(axis=1, how="all")


def make_scene(
    name: str,
    volume: Volume,
    labels: tuple[str, ...],
    channels: tuple[str, ...],
    told: Mapping[str, Segmentations],
    place: int = 0,
) -> Scene:
    """Return a case with what was told of it, and its truth if it has one.

    Args:
        told: by name, of this case at `place`.
    """
    frame = make_frame(volume.geometry, (None, None, None))
    layers = {
        given: layer_of(segmentations.cases[place], segmentations, frame) for given, segmentations in told.items()
    }
    if volume.label is not None:
        nothing = np.full(len(labels) - 1, np.nan)
        layers[TRUTH] = Layer(frame.canonical(volume.label), None, nothing, nothing)
    x, y, z = (volume.geometry.spacing[axis] for axis in frame.axes)
    return Scene(name, frame.canonical(volume.image), channels, frame, (x, y, z), labels, layers)


def layer_of(case: Segmentation, told: Segmentations, frame: Frame) -> Layer:
    """Return what was told of a case, its label volumes measured."""
    alone = Segmentations([case], told.labels, told.values, told.quality or Quality.unchecked(len(told.labels)))
    rows = label_volumes(alone)
    sure, estimated = (
        np.array([getattr(row, field) for row in rows], dtype=float)  # None becomes NaN
        for field in ("mean_confidence", "estimated_dice")
    )
    return Layer(frame.canonical(case.label), frame.canonical(case.confidence), sure, estimated)
