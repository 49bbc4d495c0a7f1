"""Pictures of segmentations beside the truth: three cases, the Dice of all of them, and how honest confidence is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Literal

import numpy as np
from matplotlib.lines import Line2D

from omniform.plots import FLOOR, INK, PALETTE, canvas
from omniform.task import NamedFigure
from omniform_medical.calibration import near_foreground
from omniform_medical.calibration_error import BINS, confidence_counts
from omniform_medical.cohort import Cohort
from omniform_medical.overlays import View, draw_contours, draw_image, panels, verbatim, views, window_of
from omniform_medical.preprocessing import make_frame
from omniform_medical.quality import dice
from omniform_medical.segmentation import Segmentations

__all__ = ["segment_figures"]

_TRUTH = "#FFFFFF"
_SLATE = "#57606a"
_NEAR = 4  # voxels around the foreground in which confidence is judged
_ZOOM = 0.35  # of the foreground's extent that is shown around it
_ENOUGH = 50  # voxels of a bin that say something
_MARGIN = 6.0  # voxels around it, at least
_NAMED = 4  # foreground labels up to which each has rows of its own


def segment_figures(
    predictions: Mapping[str, Segmentations], items: Cohort, *, floor: str = "atlas"
) -> Iterator[NamedFigure]:
    """Draw the best, the median and the worst case, the Dice of every case, and the reliability of confidence.

    Cases go by the mean Dice over labels of the first predictor that is not the floor. Nothing is drawn of cases
    without a truth.
    """
    scored = _Scored.of(predictions, items)
    leader = next((name for name in predictions if name != floor), floor)
    means = _means(scored.dice[leader])
    known = np.flatnonzero(np.isfinite(means))
    if not len(known):
        return
    order = known[np.argsort(-means[known], kind="stable")]
    places: dict[int, str] = {}
    for rank, place in (("best", 0), ("worst", len(order) - 1), ("median", len(order) // 2)):
        places.setdefault(place, rank)
    for place, rank in sorted(places.items()):
        yield _case_figure(predictions, items, int(order[place]), rank, scored, floor)
    yield _dice_figure(scored, items.labels, floor)
    yield _reliability_figure(scored, floor)


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """What is drawn of all cases.

    Attributes:
        dice: of each predictor, `(U, K - 1)`; NaN where a case has no truth, or neither has the label.
        seen: of each predictor, voxels near the foreground at each of 256 levels of confidence.
        correct: how many of them are right.
    """

    dice: Mapping[str, np.ndarray]
    seen: Mapping[str, np.ndarray]
    correct: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, predictions: Mapping[str, Segmentations], items: Cohort) -> _Scored:
        classes = len(items.labels)
        scores = {name: np.full((len(items), classes - 1), np.nan) for name in predictions}
        seen, correct = ({name: np.zeros(256, np.int64) for name in predictions} for _ in range(2))
        for index in range(len(items)):
            truth = items.read(index).label
            if truth is None:
                continue
            for name, given in predictions.items():
                case = given.cases[index]
                scores[name][index] = dice(case.label, truth, classes)
                near = near_foreground(np.maximum(truth, case.label), _NEAR)
                counts = confidence_counts(case.confidence[near], (truth == case.label)[near])
                seen[name] += counts[0]
                correct[name] += counts[1]
        return cls(scores, seen, correct)


def _case_figure(
    predictions: Mapping[str, Segmentations], items: Cohort, index: int, rank: str, scored: _Scored, floor: str
) -> NamedFigure:
    """Draw three planes through the foreground with everybody's outlines."""
    volume, name = items.read(index), items.cases[index].name
    assert volume.label is not None
    frame = make_frame(volume.geometry, (None, None, None))
    spacing = [volume.geometry.spacing[axis] for axis in frame.axes]
    grey, truth = frame.canonical(volume.image[0]), frame.canonical(volume.label)
    outlines = {given: frame.canonical(predictions[given].cases[index].label) for given in predictions}
    shown = views(truth > 0) if truth.any() else views(np.maximum.reduce(list(outlines.values())) > 0)
    everything = np.maximum.reduce([truth, *outlines.values()]) > 0
    zooms = [_zoom(everything, view, spacing) for view in shown]
    figure, axes = panels([(right - left, top - bottom) for left, right, bottom, top in zooms])
    lines = {"truth": _Line(_TRUTH, 2.0)} | _lines(predictions, floor)
    for axis, view, zoom in zip(axes, shown, zooms, strict=True):
        draw_image(axis, grey, view, spacing, window_of(grey))
        for given, label in ({"truth": truth} | outlines).items():
            line = lines[given]
            colours = dict.fromkeys(range(1, len(items.labels)), line.color)
            draw_contours(axis, label, view, spacing, colours, width=line.width, dash=line.dash)
        axis.set_xlim(*zoom[:2])
        axis.set_ylim(*zoom[2:])
    scores = {given: f"{given}, Dice {_means(values)[index]:.3f}" for given, values in scored.dice.items()}
    keys = [line.key(scores.get(given, given)) for given, line in lines.items()]
    legend = figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=8.5, labelcolor="white")
    legend.get_frame().set(facecolor=_SLATE, edgecolor="none")  # on white, the outline of the truth would be lost
    caption = f"{name}, the {rank} of {len(items)} cases by Dice: outlines of the labels; right of the patient is left."
    return NamedFigure(f"case-{rank}", caption, figure)


def _dice_figure(scored: _Scored, labels: tuple[str, ...], floor: str) -> NamedFigure:
    """Draw a dot a case, and the median, for every predictor; for every label where they are few."""
    groups = {"mean": _means}
    if 1 < len(labels) - 1 <= _NAMED:
        groups |= {label: lambda values, k=k: values[:, k] for k, label in enumerate(labels[1:])}
    rows = [(group, name, take(values)) for group, take in groups.items() for name, values in scored.dice.items()]
    figure, (axis,) = canvas(width=7.2, height=0.9 + 0.42 * len(rows))
    lines = _lines(scored.dice, floor)
    ticks = []
    for place, (group, name, values) in enumerate(rows):
        y = -place - 0.4 * list(groups).index(group)
        values = values[np.isfinite(values)]
        colour = lines[name].color
        axis.plot(values, y + _spread(values), "o", color=colour, markersize=4.5, alpha=0.65, markeredgewidth=0)
        if len(values):
            axis.plot([np.median(values)] * 2, [y - 0.3, y + 0.3], color=INK, linewidth=1.6)
        ticks.append((y, f"{group}: {name}" if len(groups) > 1 else name))
    axis.set_yticks([y for y, _ in ticks], [verbatim(text) for _, text in ticks])
    axis.set_xlabel("Dice of a case, higher is better")
    axis.grid(axis="y", visible=False)
    caption = "Dice of every case; the bar is the median. A case without a label, found nowhere in it, has no dot."
    return NamedFigure("dice-per-case", caption, figure)


def _reliability_figure(scored: _Scored, floor: str) -> NamedFigure:
    """Draw the share of voxels that are right against their confidence."""
    figure, (axis,) = canvas(width=4.6, height=4.2)
    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8, alpha=0.5)
    levels = np.arange(256) / 255
    place = np.minimum((levels * BINS).astype(int), BINS - 1)
    lowest = 1.0
    for name, line in _lines(scored.dice, floor).items():
        seen, sure, right = (
            np.bincount(place, weights=values, minlength=BINS)
            for values in (scored.seen[name], scored.seen[name] * levels, scored.correct[name])
        )
        full = seen >= _ENOUGH
        x, y = sure[full] / seen[full], right[full] / seen[full]
        axis.plot(
            x, y, line.dash, marker="o", markersize=4, color=line.color, linewidth=line.width, label=verbatim(name)
        )
        lowest = min(lowest, *x, *y)
    for limit in (axis.set_xlim, axis.set_ylim):
        limit(max(0.0, lowest - 0.05), 1.01)
    axis.set_aspect("equal")
    axis.set_xlabel("confidence")
    axis.set_ylabel("share that is right")
    axis.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    caption = (
        f"Voxels within {_NEAR} of true or found foreground, by confidence: on the diagonal, confidence keeps its "
        "word; below it, it promises too much."
    )
    return NamedFigure("reliability", caption, figure)


@dataclass(frozen=True, slots=True)
class _Line:
    color: str
    width: float = 1.4
    dash: Literal["-", "--"] = "-"

    def key(self, name: str) -> Line2D:
        """Return what stands for it in a legend."""
        return Line2D([], [], label=verbatim(name), color=self.color, linewidth=self.width, linestyle=self.dash)


def _lines(names: Mapping[str, object], floor: str) -> dict[str, _Line]:
    """Return a line for each predictor; the floor's is dashed."""
    colours = cycle((PALETTE[4], PALETTE[1], PALETTE[2], PALETTE[3]))
    return {name: _Line(FLOOR, dash="--") if name == floor else _Line(next(colours)) for name in names}


def _means(values: np.ndarray) -> np.ndarray:
    """Return the mean over labels `(U,)` of `(U, K - 1)`; NaN where no label is known."""
    known = np.isfinite(values)
    count = np.sum(known, axis=1)
    return np.where(count > 0, np.sum(values, axis=1, where=known) / np.maximum(count, 1), np.nan)


def _spread(values: np.ndarray) -> np.ndarray:
    """Return heights that keep dots of equal value apart, the same ones every time."""
    turns = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return 0.24 * ((turns * 0.618034) % 1 - 0.5) * 2


def _zoom(mask: np.ndarray, view: View, spacing: list[float]) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top, in millimetres, of the mask and something around it."""
    plane, ends = view.of(mask), []
    for axis, size in ((0, spacing[view.across]), (1, spacing[view.up])):
        inside = np.flatnonzero(plane.any(axis=axis))
        count = plane.shape[1 - axis]
        low, high = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, count)
        margin = max(_ZOOM * (high - low), _MARGIN)
        ends += [max(low - margin, 0) * size, min(high + margin, count) * size]
    left, right, bottom, top = ends
    return left, right, bottom, top
