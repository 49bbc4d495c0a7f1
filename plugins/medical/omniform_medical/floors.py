"""Segmentations that a network should beat: where each class lies on average, and a vote of the training cases.

N = atlases (training cases), C = channels, K = classes, *G = cells of the common grid, (X, Y, Z) = canonical voxels
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from omniform.task import Floor, Splits
from omniform_medical.atlas import Gaussians, Placed, distances, grid_for, resample, vote
from omniform_medical.calibration import fit_temperature, near_foreground
from omniform_medical.cohort import Cohort
from omniform_medical.quality import dice
from omniform_medical.segmentation import Segmentation, Segmentations

__all__ = ["SHARPNESSES", "WEIGHTS", "Atlas", "AtlasPredictor", "floors_of"]

SHARPNESSES = (0.0, 8.0, 16.0, 32.0, 64.0)
"""How much a training case that looks alike counts more than one that does not; 0 counts all the same."""

WEIGHTS = (0.0, 0.5, 1.0)
"""How much a voxel's own intensity counts beside the vote; 1 is Bayes' rule, less allows for what the two share."""

_ATLASES = 128
_JUDGED = 12  # validation cases that decide
_MEMORY = 1 << 28  # bytes of the atlases' labels
_LEAST = 1e-3  # probability that a class is left everywhere, since N cases do not show all
_ALL = (slice(None),) * 3
_NEVER = -1e6  # the logit of a class that training lacks
_VOXELS = 1 << 15  # of each validation case that the temperature is fitted on


def floors_of() -> tuple[Floor, ...]:
    """Return the floors, the one that every score stands beside first."""
    return (
        Floor(
            name="atlas",
            summary="a vote of the training cases that look alike around a voxel, and a Gaussian of each class",
            estimator=Atlas(),
        ),
        Floor(
            name="prior",
            summary="the class that is most frequent at this place of the volume",
            estimator=Atlas(sharpnesses=(0.0,), weights=(0.0,)),
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class AtlasPredictor:
    """Training cases that vote, and how their classes look; what `Atlas` chose on validation.

    Attributes:
        images: `(N, C, *G)` float32, z-scored.
        labels: `(N, K, *G)` uint8, 255 for a cell that is all of the class.
        looks: of the classes.
        sharpness: of the vote.
        weight: of the intensities.
        temperature: of the confidence.
    """

    images: np.ndarray
    labels: np.ndarray
    looks: Gaussians
    sharpness: float = 0.0
    weight: float = 0.0
    temperature: float = 1.0

    @property
    def cells(self) -> tuple[int, int, int]:
        x, y, z = self.images.shape[2:]
        return x, y, z

    def predict(self, items: Cohort) -> Segmentations:
        """Segment every case, on its file's own grid, in memory that grows with the volume and not with the classes."""
        cases = [self._segment(items, index) for index in range(len(items))]
        return Segmentations(cases, items.labels, items.values)

    def unlike(self, case: Placed) -> np.ndarray:
        """Return the distances of the case from the atlases, `(N, *G)`."""
        return distances(self.images, case.on_grid())

    def logits(self, case: Placed, prior: np.ndarray, *where: slice) -> np.ndarray:
        """Return unnormalised log posteriors of a part of a case, `(K, x, y, z)`, given the prior `(K, *G)`."""
        up = tuple(matrix[part] for matrix, part in zip(case.up, where, strict=True))
        logits = np.log(np.maximum(resample(prior, up), _LEAST))
        if self.weight:
            logits += self.weight * self.looks.log_density(case.intensities(*where))
        logits[~self.looks.seen] = _NEVER
        return logits

    def _segment(self, items: Cohort, index: int) -> Segmentation:
        volume = items.read(index)
        case = Placed.of(volume, self.cells)
        prior = vote(self.labels, self.unlike(case) if self.sharpness else None, self.sharpness)
        label, confidence = (np.empty(case.shape, np.uint8) for _ in range(2))
        for block in case.blocks(4 * self.labels.shape[1]):
            logits = self.logits(case, prior, block, *_ALL[1:])
            top = logits.max(axis=0)
            label[block] = logits.argmax(axis=0)
            confidence[block] = np.rint(255 / np.exp((logits - top) / self.temperature).sum(axis=0))
        label, confidence = (np.ascontiguousarray(case.frame.native(part)) for part in (label, confidence))
        return Segmentation(items.cases[index].name, label, confidence, volume.like)


@dataclass(frozen=True, slots=True)
class Atlas:
    """A location prior by locally weighted label fusion, times a Gaussian of the intensity of each class.

    All cases are laid over each other by the box of what is not empty, on canonical axes, and resampled to a common
    grid. With `I_n` the z-scored intensities of training case n there, `L_n` its labels and `I` the new case, the cell
    x has the prior

        p(k | x) = sum_n w_n(x) L_nk(x) / sum_n w_n(x),    w_n(x) = exp(-b (G * |I_n - I|^2)(x))

    with G a Gaussian: label fusion by local likeness without a registration that bends (Rousseau et al.,
    doi 10.1109/TMI.2011.2156806, who compare patches and search around each). Voxel v is given the class with the
    greatest `log p(k | v) + a log N(I(v); m_k, S_k)`, all channels under one full covariance; the Gaussian of the
    background is that of voxels near the foreground.

    The sharpness b and the weight a with the best mean Dice on validation are taken, and a temperature fitted there
    makes the confidence honest. Of many cases 128 are taken evenly as atlases, 12 to choose on.
    """

    sharpnesses: Sequence[float] = SHARPNESSES
    weights: Sequence[float] = WEIGHTS

    def fit(self, splits: Splits[Cohort], *, seed: int) -> AtlasPredictor:
        predictor = _learn(splits.train)
        compared = any(self.sharpnesses)
        judges = [_Judge.of(predictor, case, compared) for case in _placed(splits.validation, predictor.cells, _JUDGED)]
        choices = [(b, a) for b in self.sharpnesses for a in self.weights]
        if len(choices) > 1:
            scores = np.array([judge.scores(predictor, self.sharpnesses, self.weights) for judge in judges])
            choices = [choices[int(np.argmax(scores.mean(axis=0)))]]
        predictor = replace(predictor, sharpness=choices[0][0], weight=choices[0][1])
        logits, labels = (np.concatenate(parts) for parts in zip(*(j.near(predictor) for j in judges), strict=True))
        return replace(predictor, temperature=fit_temperature(logits, labels)) if len(labels) else predictor


def _learn(train: Cohort) -> AtlasPredictor:
    """Lay training cases over the grid, and take the moments of each class's intensities."""
    classes, channels = len(train.labels), len(train.channels)
    cells = grid_for(train.read(0))
    most = max(1, min(_ATLASES, _MEMORY // (classes * math.prod(cells))))
    images, labels = [], []
    count, total, square = np.zeros(classes), np.zeros((classes, channels)), np.zeros((classes, channels, channels))
    for case in _placed(train, cells, most):
        images.append(case.on_grid())
        labels.append(case.labels_on_grid(classes))
        sample = case.thinned()
        assert sample.label is not None
        reach = resample(gaussian_filter(1 - labels[-1][0] / np.float32(255), 1.0), sample.up) > 0.01
        values, known = sample.intensities(*_ALL), np.where(reach | (sample.label > 0), sample.label, classes)
        for k in range(classes):
            x = values[:, known == k].astype(np.float64)
            count[k] += x.shape[1]
            total[k] += x.sum(axis=1)
            square[k] += x @ x.T
    return AtlasPredictor(np.stack(images), np.stack(labels), Gaussians.of(count, total, square))


def _placed(cohort: Cohort, cells: tuple[int, int, int], most: int) -> Iterator[Placed]:
    """Read at most so many cases, evenly spaced, one at a time."""
    for index in np.unique(np.linspace(0, len(cohort) - 1, min(most, len(cohort))).round()):
        yield Placed.of(cohort.read(int(index)), cells)


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """What a validation case needs to judge choices: some voxels, and its distances from the atlases."""

    case: Placed
    unlike: np.ndarray | None

    @classmethod
    def of(cls, predictor: AtlasPredictor, case: Placed, compared: bool) -> _Judge:
        return cls(case.thinned(), predictor.unlike(case) if compared else None)

    def scores(self, predictor: AtlasPredictor, sharpnesses: Sequence[float], weights: Sequence[float]) -> list[float]:
        """Return the mean Dice over classes for each sharpness and each weight."""
        assert self.case.label is not None
        values = []
        for sharpness in sharpnesses:
            prior = vote(predictor.labels, self.unlike, sharpness)
            for weight in weights:
                label = replace(predictor, weight=weight).logits(self.case, prior, *_ALL).argmax(axis=0)
                values.append(_mean(dice(label, self.case.label, len(prior))))
        return values

    def near(self, predictor: AtlasPredictor) -> tuple[np.ndarray, np.ndarray]:
        """Return logits `(V, K)` and classes `(V,)` of voxels near the foreground, true or found; some of many."""
        assert self.case.label is not None
        logits = predictor.logits(self.case, vote(predictor.labels, self.unlike, predictor.sharpness), *_ALL)
        truth = self.case.label
        chosen = near_foreground(np.maximum(truth, logits.argmax(axis=0))) & predictor.looks.seen[truth]
        places = np.flatnonzero(chosen)
        places = places[:: -(-len(places) // _VOXELS) or 1]
        return logits.reshape(len(logits), -1)[:, places].T, truth.ravel()[places]


def _mean(scores: np.ndarray) -> float:
    """Return the mean of what is known; 1 where there is no foreground and none was found."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else 1.0
