"""Segment with a MONAI bundle that somebody made.

Shapes: C channels, K classes; (X, Y, Z) voxels of the file, (X', Y', Z') of what the bundle prepares
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from omniform.errors import DataError
from omniform_medical.bundle.files import BundleFiles
from omniform_medical.bundle.reading import (
    check_postprocessing,
    read_channels,
    read_inferer,
    read_network,
    read_transforms,
)
from omniform_medical.bundle.weights import load_weights
from omniform_medical.case import MAX_CLASSES, Case, read_volume
from omniform_medical.reading import strip_ending
from omniform_medical.segmentation import Segmentation, Segmentations

__all__ = ["BundleSegmenter"]

_CONFIGS = ("configs/inference.json", "configs/train.json")


@dataclass(frozen=True, slots=True, eq=False)
class BundleSegmenter:
    """The network of a bundle with its preparation, of which nothing was run that is not MONAI's own and known.

    `BundleSegmenter.load("spleen_ct_segmentation").predict("ct.nii.gz")`. The probabilities of all classes are held on
    the file's grid at once, as MONAI holds them: K x 4 bytes a voxel.

    Attributes:
        labels: names of the classes, 0 the background.
        channels: number of files of a case.
        network: `(B, C, *patch)` to logits `(B, K, *patch)`.
        transforms: of MONAI, from `(C, X, Y, Z)` to `(C, X', Y', Z')`.
        inferer: MONAI's sliding windows.
    """

    labels: tuple[str, ...]
    channels: int
    network: nn.Module
    transforms: Sequence[Callable[..., Any]]
    inferer: Callable[..., Any]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a bundle's folder or zip archive.

        Networks, transforms and windows are those of `omniform_medical.bundle.reading`, with arguments that are plain
        values. A bundle that `export_bundle` wrote holds a run folder instead: `Segmenter.load(path / "models")`.

        Raises:
            DataError: it is no bundle, or anything in it is not known for certain; the message names it.
        """
        files = BundleFiles(Path(path))
        channels, labels = read_channels(files.read_json("configs/metadata.json"))
        if len(labels) > MAX_CLASSES:
            raise DataError(f"expected at most {MAX_CLASSES} classes, got {len(labels)}")
        name = next((name for name in _CONFIGS if name in files), None)
        if name is None:
            raise DataError(f"expected {' or '.join(_CONFIGS)} in {files.path.name!r}, but there is neither")
        config = files.read_json(name)
        _refuse_own(config, files)
        transforms, inferer = read_transforms(config), read_inferer(config)
        check_postprocessing(config)
        network = read_network(config)
        load_weights(network, files)
        return cls(labels, channels, network.eval(), transforms, inferer)

    def predict(self, source: str | Path | Sequence[str | Path]) -> Segmentation:
        """Segment one case: a file, DICOM folder or archive, or one for each channel.

        Raises:
            DataError: it cannot be read, its channels are not as many as the network's, or what the network says is not
                a finite number.
        """
        paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
        if len(paths) != self.channels:
            raise DataError(f"expected {self.channels} files, a channel each, got {len(paths)}")
        case = Case(strip_ending(paths[0].name), tuple(paths))
        volume = read_volume(case, self.labels, tuple(range(len(self.labels))))
        if not np.isfinite(volume.image).all():
            raise DataError(f"expected intensities that are finite numbers in {case.name}, got NaN or infinity")
        probabilities = self._probabilities(volume.image, volume.geometry.affine)
        if len(probabilities) != len(self.labels) or not torch.isfinite(probabilities).all():
            raise DataError(
                f"expected finite probabilities of the {len(self.labels)} classes of channel_def for {case.name}"
            )
        confidence, label = probabilities.max(dim=0)
        return Segmentation(
            name=case.name,
            label=label.numpy().astype(np.uint8),
            confidence=(confidence * 255).round().clamp(0, 255).numpy().astype(np.uint8),
            like=replace(volume.like, array=np.broadcast_to(np.float32(0), volume.geometry.shape)),
        )

    def segment(self, sources: Sequence[str | Path | Sequence[str | Path]]) -> Segmentations:
        """Segment several cases; classes stand in files for themselves."""
        values = tuple(range(len(self.labels)))
        return Segmentations([self.predict(source) for source in sources], self.labels, values)

    @torch.no_grad()
    def _probabilities(self, image: np.ndarray, affine: np.ndarray) -> Tensor:
        """Return `(K, X, Y, Z)`: windows of logits are averaged, their softmax is brought back to the file's grid."""
        from monai.data.meta_tensor import MetaTensor
        from monai.transforms.compose import Compose

        transforms = Compose(self.transforms)
        given = MetaTensor(torch.from_numpy(np.ascontiguousarray(image)), affine=torch.from_numpy(affine))
        prepared: Any = transforms(given)
        logits: Any = self.inferer(prepared.as_tensor()[None], self.network)
        if not isinstance(logits, Tensor):
            raise DataError(
                "expected one tensor of logits from the bundle's network, got several; it is not understood"
            )
        told = MetaTensor(logits[0].float().softmax(dim=0), meta=prepared.meta)
        told.applied_operations = prepared.applied_operations
        back: Any = transforms.inverse(told)
        return back.as_tensor().float()


def _refuse_own(config: Any, files: BundleFiles) -> None:
    target = config.get("network_def")
    if isinstance(target, dict) and str(target.get("_target_", "")).startswith("omniform_medical."):
        raise DataError(f"{files.path.name!r} is a bundle of omniform's own: load the folder `models` in it as a run")
