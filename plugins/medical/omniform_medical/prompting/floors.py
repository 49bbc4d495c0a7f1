"""What a box or a click says without learning: an ellipse, or what is as bright as the middle.

X, Y = voxels of a plane
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from omniform.task import Splits
from omniform_medical.prompting.data import Ask, Prompts
from omniform_medical.prompting.masks import Masks
from omniform_medical.prompting.metrics import score

__all__ = ["Rule", "RuleEstimator", "better_rule", "ellipse", "threshold"]

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From a plane `(X, Y)` and a box to a mask `(X, Y)`."""

_BINS = 256


@dataclass(frozen=True, slots=True)
class RulePredictor:
    """Apply a rule to the box of each ask; to a click, to the square around it with the usual extent of an object."""

    rule: Rule
    extent: np.ndarray  # (2,) voxels

    def predict(self, items: Prompts) -> Masks:
        return Masks([self.rule(ask.image[0], self._box(ask)) for ask in items.asks], None, items)

    def _box(self, ask: Ask) -> np.ndarray:
        if ask.box is not None:
            return ask.box
        assert ask.points is not None
        assert ask.marks is not None
        middle = ask.points[ask.marks == 1].mean(axis=0)
        return np.concatenate([middle - (self.extent - 1) / 2, middle + (self.extent - 1) / 2])


@dataclass(frozen=True, slots=True)
class RuleEstimator:
    """Measure how large objects are in the training planes, and choose the rule that is best on validation."""

    rules: tuple[Rule, ...]

    def fit(self, splits: Splits[Prompts], *, seed: int) -> RulePredictor:
        boxes = [np.ptp(np.argwhere(ask.truth), axis=0) + 1 for ask in splits.train.asks if ask.truth is not None]
        extent = np.mean(boxes, axis=0)
        predictors = [RulePredictor(rule, extent) for rule in self.rules]
        if len(predictors) == 1:
            return predictors[0]
        items = splits.validation
        return max(predictors, key=lambda predictor: score(predictor.predict(items), items).values()["dice"])


def ellipse(plane: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the voxels whose centres lie in the ellipse inscribed in a box."""
    middle, radii = (box[:2] + box[2:]) / 2, (box[2:] - box[:2] + 1) / 2
    x, y = (np.arange(n) for n in plane.shape)
    return ((x - middle[0]) / radii[0])[:, None] ** 2 + ((y - middle[1]) / radii[1]) ** 2 <= 1


def threshold(plane: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the largest connected piece, in a box, of what lies on the same side of Otsu's threshold as the middle.

    The middle is the ellipse with half the box's sides. An even plane gives the whole box.
    """
    low = np.clip(np.ceil(box[:2]), 0, np.array(plane.shape) - 1).astype(int)
    high = np.clip(np.floor(box[2:]), low, np.array(plane.shape) - 1).astype(int) + 1
    inside = (slice(low[0], high[0]), slice(low[1], high[1]))
    values = plane[inside]
    bright = values > _otsu(values)
    middle = (box[:2] + box[2:]) / 2
    half = np.concatenate([(middle + box[:2]) / 2, (middle + box[2:]) / 2])
    core = ellipse(plane, half)[inside]
    chosen = bright if not core.any() or bright[core].mean() >= 0.5 else ~bright
    pieces = np.zeros(chosen.shape, np.int32)
    ndimage.label(chosen, output=pieces)
    mask = np.zeros(plane.shape, dtype=bool)
    if pieces.any():
        mask[inside] = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return mask


def better_rule() -> RuleEstimator:
    """Return the floor: whichever of the rules is better on validation."""
    return RuleEstimator((ellipse, threshold))


def _otsu(values: np.ndarray) -> float:
    """Return the threshold of the largest variance between what is above it and what is not (Otsu 1979)."""
    if values.min() == values.max():
        return float(values.min()) - 1
    counts, edges = np.histogram(values, _BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)[:-1]
    total = float((counts * centres).sum())
    between = below * above * (sums / below - (total - sums) / above) ** 2
    return float(edges[1 + int(np.argmax(between))])
