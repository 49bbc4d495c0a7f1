"""What the configuration of an exported bundle names: its network, its preparation and the way back.

Shapes: B batch, C channels, K classes; patches (B, C, *patch); prepared volumes (C, X, Y, Z) on canonical axes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omniform.configuration import split_names
from omniform.run import Run
from omniform.task import Splits
from omniform_medical.case import Case
from omniform_medical.cohort import Cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.inference import segment
from omniform_medical.layouts.labels import parse_labels
from omniform_medical.output.segmentations import file_values
from omniform_medical.plan import Plan
from omniform_medical.prepared import Prepared
from omniform_medical.reading import strip_ending
from omniform_medical.task import Segment

__all__ = ["Prepare", "Probabilities", "Restore", "load_network"]


def load_network(bundle_root: str | Path, device: str = "cpu") -> nn.Module:
    """Build the bundle's network with its weights: `(B, C, *patch)` to logits `(B, K, *patch)`, in evaluation mode.

    Logits are divided by the calibrated temperature: their softmax is the probability.

    Raises:
        RunError: the bundle's `models` is damaged.
    """
    run, config = _opened(str(bundle_root))
    empty = _cohort((), config)
    model = run.load_model(run.network(Segment(), Splits(empty, empty, empty), config))
    return _Logits(model).to(device).eval()


class _Logits(nn.Module):
    """The finest logits of a segmentation network, calibrated."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return `(B, K, *patch)` float32 of `(B, C, *patch)`."""
        return self.network(image)[0].float() / self.network.get_buffer("temperature")


class Probabilities(nn.Module):
    """The softmax of a network's logits, the mean over mirror images along the axes that `mirror` names."""

    def __init__(self, network: nn.Module, mirror: str = "") -> None:
        super().__init__()
        self.network = network
        dims = sorted(2 + "xyz".index(axis) for axis in set(mirror))
        self.flips = list(chain.from_iterable(combinations(dims, count) for count in range(len(dims) + 1)))

    def forward(self, image: Tensor) -> Tensor:
        """Return `(B, K, *patch)`, which sum to 1 over the classes, of `(B, C, *patch)`."""
        told = [self.network(image.flip(dims)).softmax(dim=1).flip(dims) for dims in self.flips]
        return torch.stack(told).mean(dim=0)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Read a case and prepare it as in training.

    `{"image": path}`, or a path for each channel, becomes `{"image": (C, X, Y, Z) float32, "case": Prepared}`.

    Raises:
        DataError: a file cannot be read, or the channels are not those of the network.
    """

    bundle_root: str | Path

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        _, config = _opened(str(self.bundle_root))
        prepared = _prepared(data["image"], config)
        return {**data, "image": torch.from_numpy(np.array(prepared.image, dtype=np.float32)), "case": prepared}


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring probabilities to the file's own grid and decide.

    `{"pred": (K, X, Y, Z), "case": Prepared}` becomes `{"pred": MetaTensor (1, X, Y, Z)}` on the axes of the file, with
    its affine, of the values that stand for classes in files.
    """

    bundle_root: str | Path

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        from monai.data.meta_tensor import MetaTensor

        _, config = _opened(str(self.bundle_root))
        labels, values = parse_labels(config.labels)
        case: Prepared = data["case"]
        x, y, z = case.frame.shape
        whole = replace(Plan.of(config), patch=(x, y, z), strides=())  # one window that is all
        probabilities = torch.as_tensor(data["pred"])[None].float()
        planar = whole.rank == 2
        told = segment(
            lambda _: probabilities.squeeze(-1) if planar else probabilities,
            case, whole, classes=len(labels), overlap=0.0,
        )  # fmt: skip
        label = file_values(told.label, values).astype(np.int64)
        affine = torch.from_numpy(case.like.geometry.affine)
        return {**data, "pred": MetaTensor(torch.from_numpy(label)[None], affine=affine)}


def _opened(bundle_root: str) -> tuple[Run, SegmentConfig]:
    run = Run.open(Path(bundle_root, "models"))
    return run, run.task_config(Segment())


def _prepared(source: str | Path | Sequence[str | Path], config: SegmentConfig) -> Prepared:
    from omniform_medical.network import store_of

    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    case = Case(strip_ending(paths[0].name), tuple(paths))
    return store_of(_cohort((case,), config), config)[0]  # rounded as in training


def _cohort(cases: tuple[Case, ...], config: SegmentConfig) -> Cohort:
    return Cohort("", cases, split_names(config.channels), *parse_labels(config.labels))
