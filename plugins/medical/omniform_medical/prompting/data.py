"""Planes with a prompt each: what is asked for, where, and the way to the network's square image and back.

N = items, X, Y = voxels of a plane along the first two axes of its file, S = side of the network's image

Places are in voxels of the plane: (0, 0) is the centre of the first. A box is (x0, y0, x1, y1), first and last voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from omniform.errors import DataError
from omniform_medical.cohort import Cohort, Volume
from omniform_medical.image import Image
from omniform_medical.prompting.config import PromptConfig

__all__ = ["Ask", "Prompts", "box_of", "click_of", "enlarge", "normalized", "read_prompts"]

_TAILS = (0.5, 99.5)  # percentiles to which intensities are clipped: a bright implant must not darken the rest


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One plane, and what is asked for in it.

    Attributes:
        case: name of the case; of it, `plane` across the file's third axis, and `label` the class, if known.
        image: `(C, X, Y)` float32, normalised.
        truth: `(X, Y)` bool, or `None`.
        box: `(4,)`, or `None`.
        points: `(P, 2)`, or `None`, with `marks` `(P,)`: 1 on the object, 0 around it.
    """

    case: str
    plane: int
    label: int
    image: np.ndarray
    truth: np.ndarray | None
    box: np.ndarray | None = None
    points: np.ndarray | None = None
    marks: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        _, x, y = self.image.shape
        return x, y


@dataclass(frozen=True, eq=False)
class Prompts:
    """Asks in planes of several cases.

    Attributes:
        asks: in the order of their cases.
        grids: of each case, the image whose grid its masks take; arrays are left out.
        labels: names of the classes, 0 the background.
        values: what stands for each class in files.
    """

    asks: tuple[Ask, ...]
    grids: dict[str, Image]
    labels: tuple[str, ...]
    values: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.asks)


def read_prompts(cohort: Cohort, config: PromptConfig) -> Prompts:
    """Draw the asks of a cohort with labels: of every case and label some planes, and a prompt from the truth of each.

    Up to `config.planes` of the planes where the label has `config.smallest` pixels are taken, evenly spread. What is
    drawn depends on `config.prompt_seed`, the case, the plane and the label alone.

    Raises:
        DataError: a file is refused, a case has no labels, or no plane has enough of any.
    """
    asks: list[Ask] = []
    grids: dict[str, Image] = {}
    for index, case in enumerate(cohort.cases):
        volume = cohort.read(index)
        if volume.label is None:
            raise DataError(f"case {case.name!r} has no labels to draw a prompt from; give one by the verb prompt")
        found = _asks_of(case.name, volume, len(cohort.labels), config)
        if found:
            asks += found
            grids[case.name] = replace(volume.like, array=np.empty((0, 0, 0), np.float32))
    if not asks:
        raise DataError(
            f"no plane across the third axis of the {len(cohort)} cases has a label of {config.smallest} pixels; "
            "lower --smallest"
        )
    return Prompts(tuple(asks), grids, cohort.labels, cohort.values)


def normalized(plane: np.ndarray) -> np.ndarray:
    """Return `(C, X, Y)` float32, each channel clipped to its 0.5 and 99.5 percentiles, of mean 0 and deviation 1."""
    low, high = np.percentile(plane, _TAILS, axis=(1, 2), keepdims=True)
    clipped = np.clip(plane, low, high).astype(np.float32)
    spread = clipped.std(axis=(1, 2), keepdims=True)
    return (clipped - clipped.mean(axis=(1, 2), keepdims=True)) / np.where(spread > 0, spread, 1)


def box_of(mask: np.ndarray) -> np.ndarray:
    """Return the box around a mask `(X, Y)`."""
    x, y = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return np.array([x[0], y[0], x[-1], y[-1]], dtype=np.float64)


def enlarge(box: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Move each side of a box outward by a share of the box's extent along that axis."""
    extent = np.tile(box[2:] - box[:2] + 1, 2)
    return box + shares * extent * np.array([-1, -1, 1, 1])


def click_of(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a voxel of a mask, `(1, 2)`, all as likely."""
    places = np.argwhere(mask)
    return places[rng.integers(len(places))][None].astype(np.float64)


def _asks_of(name: str, volume: Volume, classes: int, config: PromptConfig) -> list[Ask]:
    assert volume.label is not None
    asks = []
    for label in range(1, classes):
        mask = volume.label == label
        holding = np.flatnonzero(mask.sum(axis=(0, 1)) >= config.smallest)
        for plane in _spread(holding, config.planes):
            image = normalized(volume.image[..., plane])
            asks.append(_drawn(Ask(name, int(plane), label, image, np.ascontiguousarray(mask[..., plane])), config))
    return asks


def _spread(values: np.ndarray, most: int) -> Sequence[int]:
    """Return up to `most` of some values: the middles of as many equal parts."""
    if len(values) <= most:
        return values.tolist()
    return values[((np.arange(most) + 0.5) * len(values) / most).astype(int)].tolist()


def _drawn(ask: Ask, config: PromptConfig) -> Ask:
    """Give an ask the prompt that it is scored with."""
    assert ask.truth is not None
    rng = np.random.default_rng([config.prompt_seed, ask.plane, ask.label, *ask.case.encode()])
    if config.prompt == "box":
        return replace(ask, box=enlarge(box_of(ask.truth), rng.uniform(0, config.jitter, 4)))
    return replace(ask, points=click_of(ask.truth, rng), marks=np.ones(1, np.int64))
