"""One nearest neighbour under dynamic time warping.

M, N = cases, T, S = rows, C = channels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omniform.classification import Predictions
from omniform.task import Splits
from omniform_timeseries.classification.collection import Collection, join, resampled
from omniform_timeseries.classification.metrics import softmax
from omniform_timeseries.classification.scaling import ChannelScale
from omniform_timeseries.classification.splitting import classes_of

__all__ = ["BANDS", "MOST_ROWS", "Nearest", "NearestPredictor", "warping_distances"]

BANDS = (0.05, 0.1, 0.2)
"""How far two matched rows may be apart, as a share of the longer case."""

MOST_ROWS = 128
"""Longer cases are interpolated down to so many rows: warping costs their square."""

_LEFT_OUT = 64  # training cases by which the sharpness is chosen
_CELLS = 2**22
_SHARPNESS = tuple(2.0**power for power in range(-2, 9))  # over the mean distance


def warping_distances(first: Sequence[np.ndarray], second: Sequence[np.ndarray], band: float) -> np.ndarray:
    """Return the warping distances `(M, N)` between cases `(T_i, C)` and `(S_j, C)`, all channels warped as one.

        D_ts = |a_t - b_s|^2 + min(D_(t-1)s, D_t(s-1), D_(t-1)(s-1)),    distance = sqrt(D_TS)

    over pairs of rows at most `max(ceil(band * longer), |T - S|)` apart (Sakoe & Chiba 1978).
    """
    a, rows_a = _padded(first)
    b, rows_b = _padded(second)
    longer = np.maximum(rows_a[:, None], rows_b[None])
    reach = np.maximum(np.ceil(band * longer), np.abs(rows_a[:, None] - rows_b[None]))  # (M, N)
    widest = int(reach.max())
    norm_a, norm_b = np.square(a).sum(axis=2), np.square(b).sum(axis=2)
    ends = np.full(reach.shape, np.inf)
    outside = np.full((b.shape[1] + 1, *reach.shape), np.inf)
    above = outside.copy()
    above[0] = 0.0
    for t in range(a.shape[1]):
        row = outside.copy()
        for s in range(max(0, t - widest), min(b.shape[1], t + widest + 1)):
            step = np.maximum(norm_a[:, t, None] + norm_b[None, :, s] - 2 * a[:, t] @ b[:, s].T, 0.0)
            best = np.minimum(np.minimum(above[s], above[s + 1]), row[s])
            row[s + 1] = np.where(abs(t - s) <= reach, step + best, np.inf)
        closed = rows_a == t + 1
        ends[closed] = row[rows_b, :, np.arange(len(rows_b))].T[closed]
        above = row
    return np.sqrt(ends)


@dataclass(frozen=True, slots=True, eq=False)
class NearestPredictor:
    """The training cases; `softmax(-sharpness * distance)` over the nearest case of each class."""

    cases: Sequence[np.ndarray]
    targets: np.ndarray
    scale: ChannelScale
    band: float
    sharpness: float
    classes: tuple[str, ...]

    def predict(self, items: Collection) -> Predictions:
        asked = _shortened(self.scale.apply(items))
        size = max(1, _CELLS // (MOST_ROWS * len(self.cases)))
        parts = [asked[start : start + size] for start in range(0, len(asked), size)]
        distances = np.concatenate([warping_distances(part, self.cases, self.band) for part in parts])
        told = softmax(-self.sharpness * _by_class(distances, self.targets, len(self.classes)))
        return Predictions(told, self.classes, items)


@dataclass(frozen=True, slots=True)
class Nearest:
    """The label of the nearest case under dynamic time warping.

    The band (5, 10 or 20 %) and whether channels are in units of their training deviation or in their own are those
    by which 64 training cases, each left out in turn, are labelled best; the sharpness of the probabilities, which
    decides no label, has the least log loss on them. As validation chooses nothing, its cases are neighbours as well.
    """

    def fit(self, splits: Splits[Collection], *, seed: int) -> NearestPredictor:
        known = join(splits.train, splits.validation)
        classes = classes_of(known)
        targets = known.targets(classes)
        drawn = np.sort(np.random.default_rng(seed).permutation(len(known))[:_LEFT_OUT])
        best: tuple[float, NearestPredictor] | None = None
        for scale in (ChannelScale.of(known), ChannelScale.none(len(known.channels))):
            cases = _shortened(scale.apply(known))
            for band in BANDS:
                distances = warping_distances([cases[i] for i in drawn], cases, band)
                distances[np.arange(len(drawn)), drawn] = np.inf  # a case is not its own neighbour
                nearest = _by_class(distances, targets, len(classes))
                right = float((nearest.argmin(axis=1) == targets[drawn]).mean())
                if best is None or right > best[0]:
                    sharpness = _sharpness(nearest, targets[drawn])
                    best = right, NearestPredictor(cases, targets, scale, band, sharpness, classes)
        assert best is not None
        return best[1]


def _sharpness(nearest: np.ndarray, targets: np.ndarray) -> float:
    known = np.isfinite(nearest)  # the only case of a class, left out, has none of its own
    nearest = np.where(known, nearest, nearest[known].max())
    unit = nearest.mean() or 1.0

    def loss(sharpness: float) -> float:
        chosen = softmax(-sharpness * nearest)[np.arange(len(targets)), targets]
        return -float(np.log(np.maximum(chosen, 1e-6)).mean())

    return min((sharpness / unit for sharpness in _SHARPNESS), key=loss)


def _by_class(distances: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the distance to the nearest case of each class, `(M, K)`."""
    return np.stack([distances[:, targets == index].min(axis=1) for index in range(num_classes)], axis=1)


def _shortened(cases: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [case if len(case) <= MOST_ROWS else resampled(case, MOST_ROWS) for case in cases]


def _padded(cases: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array([len(case) for case in cases])
    padded = np.zeros((len(cases), int(rows.max()), cases[0].shape[1]))
    for place, case in enumerate(cases):
        padded[place, : len(case)] = case
    return padded, rows
