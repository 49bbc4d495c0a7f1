"""How well segmentations agree with the truth: one unit of a score is a case.

U = cases, K = classes, F = K - 1 foreground classes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import find_objects

from omniform.compare.bootstrap import Bootstrap, Difference
from omniform.task import LazyStatistics, Metric, Scores, Statistic, Units
from omniform_medical.calibration_error import calibration_error, confidence_counts
from omniform_medical.config import CohortConfig
from omniform_medical.layouts import parse_labels
from omniform_medical.segmentation import Segmentation, Segmentations
from omniform_medical.surface import surface_distances

__all__ = ["CaseRow", "against", "case_table", "interval", "metrics_of", "score"]

DICE = Metric(name="dice", unit="share", lower_is_better=False)
NSD = Metric(name="nsd", unit="share of surface within 1 mm", lower_is_better=False)
HD95 = Metric(name="hd95", unit="mm")
ECE = Metric(name="ece", unit="share")

_NAMED = 5  # foreground classes up to which each has a metric of its own
_MARGIN = 4  # voxels around the foreground in which confidence counts: far background would drown it
_CHUNK = 1 << 22  # voxels counted at a time: counting takes 8 bytes of each

Box = tuple[slice, ...]


def metrics_of(config: CohortConfig) -> tuple[Metric, ...]:
    """Return the metrics, Dice first; a Dice of each class by name where the config names at most five."""
    labels = parse_labels(config.labels)[0] if config.labels else ()
    classes = (Metric(name=name, unit="share", lower_is_better=False) for name in _class_metrics(labels))
    return (DICE, NSD, HD95, ECE, *classes)


def score(
    predictions: Segmentations,
    truths: Sequence[np.ndarray],
    *,
    labels: tuple[str, ...],
    groups: np.ndarray | None = None,
) -> Scores:
    """Compare segmentations with true class indices `(X, Y, Z)`; every metric is a mean over cases.

    `dice`, `nsd` and `hd95` of a case are means over the foreground classes that its truth or its prediction has; a
    class that is in neither has no weight, and a case with none of them neither. Where a class is in one alone, Dice
    and NSD are 0 and HD95 is the diagonal of the volume. `dice-NAME` is the mean over the cases that have the class.
    `ece` is the expected calibration error of the confidence of voxels within the box around true and predicted
    foreground, 4 voxels wider on each side.

    A statistic is computed when it is first asked for and then kept: whoever asks for Dice alone does not pay for
    surfaces. Until then predictions and truths are held.

    Args:
        labels: names of the classes, 0 the background.
        groups: `(U,)` the patient of each case, where a patient has several.
    """
    pairs = _Pairs(predictions.cases, truths, len(labels))
    measures: dict[str, Callable[[], Statistic]] = {
        "dice": lambda: _mean_over_classes(pairs.dice),
        "nsd": lambda: _mean_over_classes(pairs.nsd_hd95[..., 0]),
        "hd95": lambda: _mean_over_classes(pairs.nsd_hd95[..., 1]),
        "ece": lambda: _mean_over_classes(pairs.calibration[:, None]),
    }
    for place, name in enumerate(_class_metrics(labels)):
        measures[name] = lambda place=place: _mean_over_classes(pairs.dice[:, [place]])
    return Scores(LazyStatistics(measures), Units(kind="group", groups=groups))


def interval(scores: Scores, metric: str) -> Difference:
    """Return a metric with the 95 % interval of `omniform.compare`'s bootstrap over cases; none below three."""
    statistic = scores.statistics[metric]
    bootstrap = Bootstrap(scores.units, len(statistic.total))
    means = bootstrap.replicate([[statistic]])[:, 0]
    return bootstrap.difference(means, np.zeros_like(means), statistic.value())


def against(scores: Scores, floor: Scores, metric: str) -> Difference:
    """Return how much a metric differs from a floor's on the same cases, with its 95 % interval over cases."""
    statistics = [each.statistics[metric] for each in (scores, floor)]
    bootstrap = Bootstrap(scores.units, len(statistics[0].total))
    ours, theirs = bootstrap.replicate([[statistic] for statistic in statistics]).T
    return bootstrap.difference(ours, theirs, statistics[0].value() - statistics[1].value())


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """One class of one case; scores are `None` where neither truth nor prediction has it. Volumes in millilitres."""

    case: str
    label: str
    dice: float | None
    nsd: float | None
    hd95: float | None
    truth_ml: float
    predicted_ml: float


def case_table(predictions: Segmentations, truths: Sequence[np.ndarray], labels: tuple[str, ...]) -> list[CaseRow]:
    """Return a row for every foreground class of every case."""
    pairs = _Pairs(predictions.cases, truths, len(labels))
    rows = []
    for place, case in enumerate(predictions.cases):
        volume = case.like.geometry.voxel_volume
        for index, label in enumerate(labels[1:]):
            found = not np.isnan(pairs.dice[place, index])
            nsd, hd95 = pairs.nsd_hd95[place, index].tolist()
            rows.append(
                CaseRow(
                    case=case.name,
                    label=label,
                    dice=float(pairs.dice[place, index]) if found else None,
                    nsd=nsd if found else None,
                    hd95=hd95 if found else None,
                    truth_ml=float(pairs.counts[place, 0, index + 1]) * volume,
                    predicted_ml=float(pairs.counts[place, 1, index + 1]) * volume,
                )
            )
    return rows


@dataclass(eq=False)
class _Pairs:
    """Predictions beside truths, measured as they are asked for."""

    cases: Sequence[Segmentation]
    truths: Sequence[np.ndarray]
    classes: int

    def __post_init__(self) -> None:
        if len(self.cases) != len(self.truths):
            raise ValueError(f"expected a truth for each of {len(self.cases)} segmentations, got {len(self.truths)}")

    @cached_property
    def counts(self) -> np.ndarray:
        """Voxels of each class in truth, in prediction and in both, `(U, 3, K)`."""
        return np.stack([_counts(case, truth, self.classes) for case, truth in self._each()])

    @cached_property
    def dice(self) -> np.ndarray:
        """`2 |A and B| / (|A| + |B|)`, `(U, F)`; NaN where both are empty."""
        truth, predicted, both = np.moveaxis(self.counts[..., 1:], 1, 0)
        with np.errstate(invalid="ignore"):
            return 2 * both / (truth + predicted)

    @cached_property
    def nsd_hd95(self) -> np.ndarray:
        """Normalised surface Dice and 95th percentile of surface distances, `(U, F, 2)`; NaN where both are empty."""
        return np.stack([_surface_scores(case, truth, self.classes) for case, truth in self._each()])

    @cached_property
    def calibration(self) -> np.ndarray:
        """Calibration error of each case, `(U,)`; NaN where neither truth nor prediction has a foreground."""
        return np.array([_calibration(case, truth) for case, truth in self._each()])

    def _each(self) -> Iterator[tuple[Segmentation, np.ndarray]]:
        for case, truth in zip(self.cases, self.truths, strict=True):
            if case.label.shape != truth.shape:
                raise ValueError(f"{case.name}: expected a segmentation of {truth.shape}, got {case.label.shape}")
            yield case, truth


def _counts(case: Segmentation, truth: np.ndarray, classes: int) -> np.ndarray:
    confusion = np.zeros(classes * classes, np.int64)
    true, predicted = truth.ravel(), case.label.ravel()
    for start in range(0, true.size, _CHUNK):
        pair = true[start : start + _CHUNK].astype(np.int64) * classes + predicted[start : start + _CHUNK]
        confusion += np.bincount(pair, minlength=classes * classes)
    table = confusion.reshape(classes, classes)
    return np.stack([table.sum(axis=1), table.sum(axis=0), np.diagonal(table)])


def _surface_scores(case: Segmentation, truth: np.ndarray, classes: int) -> np.ndarray:
    spacing = case.like.geometry.spacing
    diagonal = float(np.linalg.norm(np.multiply(truth.shape, spacing)))
    axes = [axis for axis, size in enumerate(truth.shape) if size > 1] or [0]  # those of a plane: two
    flat = tuple(axis for axis in range(truth.ndim) if axis not in axes)
    pair = truth.squeeze(flat), case.label.squeeze(flat)
    scores = np.full((classes - 1, 2), np.nan)
    for index, boxes in enumerate(zip(*(find_objects(each, max_label=classes - 1) for each in pair), strict=True)):
        if all(boxes):
            box = _union(*boxes)
            truth, predicted = (each[box] == index + 1 for each in pair)
            distances = surface_distances(truth, predicted, [spacing[axis] for axis in axes])
            scores[index] = distances.nsd, distances.hd95
        elif any(boxes):
            scores[index] = 0.0, diagonal
    return scores


def _calibration(case: Segmentation, truth: np.ndarray) -> float:
    boxes = [find_objects((labels > 0).view(np.uint8))[0] for labels in (truth, case.label) if labels.any()]
    if not boxes:
        return float("nan")
    inside = _union(*boxes)
    box = tuple(slice(max(0, side.start - _MARGIN), side.stop + _MARGIN) for side in inside)
    return calibration_error(*confidence_counts(case.confidence[box], truth[box] == case.label[box]))


def _union(*boxes: Box) -> Box:
    return tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes, strict=True))


def _mean_over_classes(values: np.ndarray) -> Statistic:
    """Average `(U, F)` over the classes that each case has."""
    has = ~np.isnan(values)
    count = np.sum(has, axis=1)
    return Statistic(np.sum(values, axis=1, where=has) / np.maximum(count, 1), np.minimum(count, 1.0))


def _class_metrics(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the classes' own metrics; none where the classes are many."""
    return tuple(f"dice-{name}" for name in labels[1:]) if len(labels) - 1 <= _NAMED else ()
