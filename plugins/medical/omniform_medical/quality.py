"""How good a segmentation probably is, judged without truth from its own confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, maximum_filter

from omniform_medical.segmentation import Segmentation

__all__ = ["Check", "LabelQuality", "Quality", "dice", "expected_dice", "fit_quality"]

_REACH = 2  # voxels from a border within which doubt may be of the class beyond it
_FEWEST = 5  # validation cases that a line may be fitted on; fewer would be fitted exactly


def expected_dice(segmentation: Segmentation, classes: int) -> np.ndarray:
    """Return the Dice that each foreground label may expect, `(K - 1,)`; NaN where nothing of it was found.

    With `P` the voxels given to a label, `p` the calibrated probability that such a voxel is the label's, and `M` the
    probable voxels of the label that were missed,

        E[Dice] ~ 2 sum_P p / (|P| + sum_P p + M),

    the soft Dice confidence (arXiv 2402.10665), whose denominator wants the label's probability everywhere. Of voxels
    outside `P` only the confidence in another class is known: their doubt `1 - p` is shared out equally among the other
    classes in the cube of 5 voxels around them, since doubt lies along borders; doubt without a border is dropped.
    """
    told = np.full(classes - 1, np.nan)
    if not segmentation.label.any():
        return told
    box = _around(segmentation.label > 0)
    label, doubt = segmentation.label[box], 1 - segmentation.confidence[box].astype(np.float32) / 255
    boxes = [_around(label == k) if (label == k).any() else None for k in range(classes)]
    sharers = np.zeros(label.shape, np.uint8)
    for k, part in enumerate(boxes):
        if part is not None:
            sharers[part] += _beside(label[part], k)
    doubt /= np.maximum(sharers, 1)
    for k, part in enumerate(boxes):
        if part is not None and k > 0:
            inside, confidence = label[part] == k, segmentation.confidence[box][part]
            size, hit = int(inside.sum()), float(confidence[inside].sum(dtype=np.float64)) / 255
            missed = float(doubt[part][_beside(label[part], k)].sum(dtype=np.float64))
            told[k - 1] = 2 * hit / (size + hit + missed)
    return told


def dice(label: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Return the Dice of each foreground class, `(K - 1,)`; NaN where neither array has it."""
    scores = np.full(classes - 1, np.nan)
    for k in range(1, classes):
        given, true = label == k, truth == k
        total = int(given.sum()) + int(true.sum())
        if total:
            scores[k - 1] = 2 * int((given & true).sum()) / total
    return scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """How estimates did on validation.

    Attributes:
        cases: validation cases behind it.
        mae: mean absolute error, each case left out of its own line; `None` without cases.
        spearman: rank correlation of expected and true Dice; `None` where either is constant.
    """

    cases: int = 0
    mae: float | None = None
    spearman: float | None = None

    def __str__(self) -> str:
        if self.mae is None:
            return "not checked on validation"
        rank = "" if self.spearman is None else f", rank correlation {self.spearman:.2f}"
        return f"off by {self.mae:.3f} on average over {self.cases} validation cases{rank}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelQuality:
    """From the expected Dice of a label to an estimate: `slope * expected + intercept`, cut to [0, 1]."""

    slope: float = 1.0
    intercept: float = 0.0
    check: Check = Check()

    def estimate(self, expected: float) -> float:
        """Return the estimated Dice; NaN of NaN."""
        return float(np.clip(self.slope * expected + self.intercept, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Estimates of Dice without truth; survives JSON (`omniform.serial`).

    Attributes:
        labels: of each foreground label, in their order.
        case: how the mean over the labels that were found did.
    """

    labels: tuple[LabelQuality, ...]
    case: Check = Check()

    @classmethod
    def unchecked(cls, classes: int) -> Quality:
        """Return estimates that are the expected Dice itself."""
        return cls(labels=(LabelQuality(),) * (classes - 1))

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Quality:
        """Undo `rows`."""
        checks = [_check_of(*row[2:].tolist()) for row in rows]
        lines = zip(rows[:-1, :2].tolist(), checks[:-1], strict=True)
        labels = tuple(LabelQuality(slope=slope, intercept=shift, check=check) for (slope, shift), check in lines)
        return cls(labels=labels, case=checks[-1])

    def rows(self) -> np.ndarray:
        """Return all of it as `(K, 5)` float64, for a buffer: slope, intercept, cases, MAE and rank correlation of each
        label, and last of the case; NaN for `None`."""
        lines = [(part.slope, part.intercept, part.check) for part in self.labels] + [(1.0, 0.0, self.case)]
        return np.array([(*line, check.cases, check.mae, check.spearman) for *line, check in lines], dtype=np.float64)

    def estimate(self, segmentation: Segmentation) -> np.ndarray:
        """Return the estimated Dice of each foreground label, `(K - 1,)`; NaN where nothing of it was found."""
        expected = expected_dice(segmentation, len(self.labels) + 1)
        return np.array([part.estimate(value) for part, value in zip(self.labels, expected, strict=True)])


def fit_quality(expected: np.ndarray, true: np.ndarray) -> Quality:
    """Fit a line for each label from expected to true Dice of validation cases, `(N, K - 1)` each; NaN is left out.

    Below five cases with the label, the expected Dice stands as it is.
    """
    labels, told = [], np.full(expected.shape, np.nan)
    for place in range(expected.shape[1]):
        known = np.isfinite(expected[:, place]) & np.isfinite(true[:, place])
        x, y = expected[known, place], true[known, place]
        slope, intercept = _line(x, y)
        told[known, place] = _left_out(x, y)
        labels.append(LabelQuality(slope=slope, intercept=intercept, check=_check(told[known, place], y, x)))
    known = np.isfinite(told)
    some = known.any(axis=1)
    means = [np.nanmean(np.where(known, values, np.nan)[some], axis=1) for values in (told, true, expected)]
    return Quality(labels=tuple(labels), case=_check(*means))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the line half-way between least squares and slope 1, never falling.

    The cases lie close together, so least squares alone is steep and overshoots on a case worse than all of them.
    """
    if len(x) < _FEWEST:
        return 1.0, 0.0
    spread = float(((x - x.mean()) ** 2).sum())
    steep = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 1e-12 else 1.0
    slope = max((1 + steep) / 2, 0.0)
    return slope, float(y.mean() - slope * x.mean())


def _left_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return for each case the estimate of the line through the others."""
    told = np.empty(len(x))
    for i in range(len(x)):
        slope, intercept = _line(np.delete(x, i), np.delete(y, i))
        told[i] = np.clip(slope * x[i] + intercept, 0.0, 1.0)
    return told


def _check(told: np.ndarray, true: np.ndarray, expected: np.ndarray) -> Check:
    if len(true) == 0:
        return Check()
    return Check(cases=len(true), mae=float(np.abs(told - true).mean()), spearman=_rank_correlation(expected, true))


def _check_of(cases: float, *numbers: float) -> Check:
    mae, spearman = (None if np.isnan(number) else number for number in numbers)
    return Check(cases=int(cases), mae=mae, spearman=spearman)


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    from scipy.stats import rankdata  # a second to import

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _beside(label: np.ndarray, k: int) -> np.ndarray:
    """Return which voxels are not of class k but have it in the cube around them."""
    mask = label == k
    return maximum_filter(mask, size=2 * _REACH + 1, mode="constant") & ~mask


def _around(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the box of a mask that is not empty, wider by the reach on each side."""
    (box,) = find_objects(mask.view(np.uint8))
    return tuple(slice(max(side.start - _REACH, 0), side.stop + _REACH) for side in box)
