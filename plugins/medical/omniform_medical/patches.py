"""Training patches: where they are cut, and how they are varied.

Shapes: C channels, `*P` the plan's patch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from omniform_medical.augmentation import Augmentation, crop, vary_intensities, warp
from omniform_medical.inference import PADDING
from omniform_medical.plan import Plan
from omniform_medical.store import Store

__all__ = ["MiddlePatches", "Patch", "TrainingPatches"]

_ROOM = 1.45  # a patch that is turned and scaled as far as it may be is seen through so much of a region


class Patch(NamedTuple):
    """A patch; planes come without the last axis."""

    image: Tensor  # (C, *P) float32
    label: Tensor  # (*P) uint8; zeros where it is not known


class TrainingPatches(Dataset[Patch]):
    """A patch of every case, cut and varied anew at every call.

    A share `foreground` of them is centred on a voxel of a class drawn evenly among those that the case has, the others
    anywhere (nnU-Net, doi 10.1038/s41592-020-01008-z).

    Args:
        warped: turn and scale patches too, rather than vary intensities alone; `None` leaves them as they are.
    """

    def __init__(self, store: Store, *, foreground: float, how: Augmentation, warped: bool | None) -> None:
        self.store = store
        self.foreground = foreground
        self.how = how
        self.warped = warped

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Patch:
        prepared, plan = self.store[index], self.store.plan
        assert prepared.label is not None, "cases to train on have labels"
        generator = Generator().manual_seed(int(torch.randint(2**62, ())))
        centre = _draw_centre(prepared.label, plan.patch, self.foreground, generator)
        region = plan.patch
        if self.warped:
            region = _scaled(plan.patch, _ROOM)
        image, label = cut(prepared.image, centre, region), cut(prepared.label[None], centre, region)[0]
        move = warp if self.warped else crop
        image, label = move(image, label, plan.patch, self.how, generator)
        if self.warped is not None:
            image = vary_intensities(image, self.how, generator)
        return _as_seen(image, label, plan)


class MiddlePatches(Dataset[Patch]):
    """The patch in the middle of every case, as it is: examples of what the network gets."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Patch:
        prepared, plan = self.store[index], self.store.plan
        centre = [side // 2 for side in prepared.image.shape[1:]]
        label = np.zeros(prepared.image.shape[1:], np.uint8) if prepared.label is None else prepared.label
        patches = (cut(array, centre, plan.patch) for array in (prepared.image, label[None]))
        image, classes = patches
        return _as_seen(image, classes[0], plan)


def cut(array: np.ndarray, centre: list[int], size: tuple[int, int, int]) -> Tensor:
    """Return `(C, *size)` around a voxel, filled up beyond the borders as prediction does."""
    out = torch.full((len(array), *size), PADDING, dtype=torch.float32 if array.dtype.kind == "f" else torch.uint8)
    target, source = [slice(None)], [slice(None)]
    for middle, wanted, side in zip(centre, size, array.shape[1:], strict=True):
        start = middle - wanted // 2
        low, high = max(start, 0), min(start + wanted, side)
        target.append(slice(low - start, high - start))
        source.append(slice(low, high))
    out[tuple(target)] = torch.from_numpy(np.ascontiguousarray(array[tuple(source)])).to(out.dtype)
    return out


def _draw_centre(label: np.ndarray, patch: tuple[int, int, int], share: float, generator: Generator) -> list[int]:
    """Return a voxel of the foreground, or one around which a patch stays within the volume if it can."""
    if torch.rand((), generator=generator) < share:
        present = np.flatnonzero(np.bincount(label.reshape(-1)))
        present = present[present > 0]
        if len(present):
            wanted = present[_draw(len(present), generator)]
            places = np.flatnonzero(label == wanted)
            voxel = places[_draw(len(places), generator)]
            return [int(each) for each in np.unravel_index(voxel, label.shape)]
    return [_draw_middle(side, wanted, generator) for side, wanted in zip(label.shape, patch, strict=True)]


def _draw_middle(side: int, wanted: int, generator: Generator) -> int:
    room = side - wanted
    return side // 2 if room <= 0 else wanted // 2 + _draw(room + 1, generator)


def _draw(count: int, generator: Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _scaled(patch: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    x, y, z = (side if side == 1 else round(side * factor) for side in patch)
    return x, y, z


def _as_seen(image: Tensor, label: Tensor, plan: Plan) -> Patch:
    return Patch(image, label) if plan.rank == 3 else Patch(image.squeeze(-1), label.squeeze(-1))
