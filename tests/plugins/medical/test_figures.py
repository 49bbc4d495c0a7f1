"""Three cases beside the truth, the Dice of all, and how honest confidence is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from omniform.plots import FLOOR, png
from omniform_medical.case import Case, Volume
from omniform_medical.cohort import Cohort
from omniform_medical.figures import segment_figures
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.segmentation import Segmentation, Segmentations

LABELS = ("background", "head", "tail")


@dataclass(frozen=True, eq=False)
class _Drawn(Cohort):
    def read(self, index):
        truth = _truth(index)
        return Volume(np.random.default_rng(index).random((1, *truth.shape), np.float32), truth, _like(truth))


def _truth(index):
    truth = np.zeros((16, 18, 12), np.uint8)
    if index != 3:  # one case has nothing
        truth[4:12, 3:9, 3:9], truth[4:12, 9:15, 3:9] = 1, 2
    return truth


def _like(label):
    return Image(label, Geometry(label.shape, np.diag([1.0, 1.0, 2.0, 1.0])), Path("a"))


def _items(count=6, kind=_Drawn):
    return kind("", tuple(Case(f"case-{i}", (Path("a"),)) for i in range(count)), ("t1",), LABELS, (0, 1, 2))


def _predictions(shifts):
    cases = []
    for index, shift in enumerate(shifts):
        label = np.roll(_truth(index), shift, axis=0)
        right = label == _truth(index)
        confidence = np.where(np.random.default_rng(index).random(label.shape) < 0.8, 204, 128).astype(np.uint8)
        cases.append(Segmentation(f"case-{index}", label, np.where(right, 230, confidence), _like(label)))
    return Segmentations(cases, LABELS, (0, 1, 2))


@pytest.fixture
def predictions():
    return {"unet": _predictions((2, 0, 1, 0, 4, 3)), "atlas": _predictions((5,) * 6)}


def test_the_best_the_median_and_the_worst_case_are_shown(predictions):
    figures = {figure.name: figure for figure in segment_figures(predictions, _items())}
    assert list(figures) == ["case-best", "case-median", "case-worst", "dice-per-case", "reliability"]
    assert [figures[f"case-{rank}"].caption.split(",")[0] for rank in ("best", "median", "worst")] == [
        "case-1", "case-0", "case-4",
    ]  # fmt: skip
    assert all(figure.caption for figure in figures.values())
    texts = [text.get_text() for text in figures["case-best"].figure.legends[0].get_texts()]
    assert texts == ["truth", "unet, Dice 1.000", "atlas, Dice 0.375"]


def test_everybodys_outlines_are_there_and_the_floors_is_dashed(predictions):
    best = next(iter(segment_figures(predictions, _items()))).figure
    for axis in best.axes[:2]:  # the floor is beside the third plane
        colours = [to_hex(lines.get_edgecolor()[0]) for lines in axis.collections]
        assert colours[0] == "#ffffff"
        assert colours.count(FLOOR.lower()) >= 1
        dashed = [lines.get_linestyle()[0][1] is not None for lines in axis.collections]
        assert dashed == [colour == FLOOR.lower() for colour in colours]


def test_a_dot_is_a_case(predictions):
    strip = next(f for f in segment_figures(predictions, _items()) if f.name == "dice-per-case").figure
    (axis,) = strip.axes
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [text.get_text() for text in axis.get_yticklabels()] == [
        f"{group}: {name}" for group in ("mean", "head", "tail") for name in ("unet", "atlas")
    ]
    assert all(len(line.get_xdata()) == 5 for line in dots)  # the case without labels has none
    assert sorted(np.round(dots[0].get_xdata(), 3)) == [0.5, 0.625, 0.75, 0.875, 1.0]


def test_reliability_is_the_share_that_is_right(predictions):
    figure = next(f for f in segment_figures(predictions, _items()) if f.name == "reliability").figure
    unet = next(line for line in figure.axes[0].lines if line.get_label() == "unet")
    x, y = np.array(unet.get_xdata()), np.array(unet.get_ydata())
    np.testing.assert_allclose(x, [128 / 255, 204 / 255, 230 / 255], atol=1e-6)
    np.testing.assert_allclose(y, [0, 0, 1])


def test_few_cases_are_shown_once_and_cases_without_truth_not_at_all(predictions):
    alone = {"unet": _predictions((1,))}
    names = [figure.name for figure in segment_figures(alone, _items(1), floor="atlas")]
    assert names == ["case-best", "dice-per-case", "reliability"]

    class Blind(_Drawn):
        def read(self, index):
            volume = super().read(index)
            return Volume(volume.image, None, volume.like)

    assert not list(segment_figures(alone, _items(1, Blind)))


def test_all_of_them_can_be_drawn(predictions):
    assert all(len(png(figure.figure)) > 5000 for figure in segment_figures(predictions, _items()))
