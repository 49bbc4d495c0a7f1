"""Masks as answers to prompts, and as files on the grids of their cases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omniform.errors import ConfigError
from omniform_medical.prompting.data import Prompts
from omniform_medical.writing import OUTPUT_ENDINGS, write_label

__all__ = ["Masks", "write_masks"]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Answers to the asks of `items`, in their order.

    Attributes:
        masks: `(X, Y)` bool each, on the plane of the file.
        quality: the intersection over union that is expected of each, `None` of predictors that do not tell.
    """

    masks: Sequence[np.ndarray]
    quality: np.ndarray | None
    items: Prompts

    def __post_init__(self) -> None:
        if len(self.masks) != len(self.items):
            raise ValueError(f"expected {len(self.items)} masks, got {len(self.masks)}")


def write_masks(masks: Masks, path: Path) -> None:
    """Write a volume a case, the planes that were asked for filled with the values of their classes.

    A path with the ending of a volume takes one case; any other becomes a folder with `CASE.nii.gz`, whole or not at
    all. Where two masks of a plane meet, the later label wins.

    Raises:
        ConfigError: several cases for one file, or an ending that cannot hold them.
    """
    if path.name.lower().endswith(OUTPUT_ENDINGS):
        if len(masks.items.grids) != 1:
            raise ConfigError(f"expected a folder for the masks of {len(masks.items.grids)} cases, got {path.name!r}")
        _write_case(masks, next(iter(masks.items.grids)), path)
        return
    if path.is_file():
        raise ConfigError(f"expected a folder for masks, or a file that ends as volumes do; {path.name!r} is a file")
    part, before = (path.with_name(f".{path.name}.{stage}") for stage in ("partial", "before"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for case in masks.items.grids:
            _write_case(masks, case, part / f"{case}.nii.gz")
        if path.is_dir():
            os.replace(path, before)
        os.replace(part, path)
    finally:
        shutil.rmtree(before, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)


def _write_case(masks: Masks, case: str, path: Path) -> None:
    like = masks.items.grids[case]
    volume = np.full(like.geometry.shape, masks.items.values[0], dtype=np.int64)
    for mask, ask in zip(masks.masks, masks.items.asks, strict=True):
        if ask.case == case:
            volume[..., ask.plane][mask] = masks.items.values[ask.label]
    write_label(volume, like, path)
