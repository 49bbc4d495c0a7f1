"""Metrics beside straight-line definitions in float64, MONAI, and the corners where a class is missing."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from omniform.task import Scores
from omniform_medical.calibration_error import calibration_error, confidence_counts
from omniform_medical.config import SegmentConfig
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.metrics import against, case_table, interval, metrics_of, score
from omniform_medical.segmentation import Segmentation, Segmentations
from omniform_medical.surface import SurfaceDistances, surface, surface_distances

LABELS = ("background", "anterior", "posterior")


def segmentations(
    labels: Sequence[np.ndarray], *, spacing=(1.0, 1.0, 1.0), confidence=255, names=LABELS
) -> Segmentations:
    cases = []
    for index, label in enumerate(labels):
        x, y, z = label.shape
        geometry = Geometry((x, y, z), np.diag([*spacing, 1.0]))
        image = Image(np.zeros(label.shape, np.float32), geometry, Path(f"{index}.nii.gz"))
        sure = np.broadcast_to(np.asarray(confidence, np.uint8), label.shape)
        cases.append(Segmentation(f"case-{index}", label.astype(np.uint8), sure, image))
    return Segmentations(cases, names, tuple(range(len(names))))


def blobs(seed: int, shape=(12, 10, 9)) -> np.ndarray:
    """Two smooth classes."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return np.digitize(field, np.quantile(field, [0.6, 0.85])).astype(np.uint8)


def values(prediction: np.ndarray, truth: np.ndarray, **options) -> dict[str, float]:
    labels = LABELS[: 1 + max(truth.max(), prediction.max())]
    return score(segmentations([prediction], names=labels, **options), [truth], labels=labels).values()


def surface_points(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The definition, voxel by voxel: a voxel with a face towards what is not mask."""
    found = []
    for place in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                outside = not 0 <= other[axis] < mask.shape[axis]
                if outside or not mask[tuple(other)]:
                    found.append(place)
    return np.unique(np.array(found), axis=0) * np.array(spacing, np.float64)


def brute(first: np.ndarray, second: np.ndarray, spacing: Sequence[float]) -> SurfaceDistances:
    one, two = surface_points(first, spacing), surface_points(second, spacing)
    table = np.sqrt(((one[:, None] - two[None]) ** 2).sum(-1))
    return SurfaceDistances(table.min(axis=1), table.min(axis=0))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 3.0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_surface_distances_are_those_of_the_definition(seed: int, spacing: tuple[float, ...]) -> None:
    first, second = blobs(seed) == 1, blobs(seed + 10) == 1
    got, expected = surface_distances(first, second, spacing), brute(first, second, spacing)
    np.testing.assert_allclose(got.forth, expected.forth, rtol=1e-12)
    np.testing.assert_allclose(got.back, expected.back, rtol=1e-12)
    assert len(got.forth) == surface(first).sum()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 3.0)])
def test_scores_are_monais(spacing: tuple[float, float, float]) -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    truths, predictions = [blobs(seed) for seed in range(3)], [blobs(seed // 2) for seed in range(3)]
    ours = score(segmentations(predictions, spacing=spacing), truths, labels=LABELS).values()

    def one_hot(labels: list[np.ndarray]):
        return torch.stack([torch.from_numpy(np.eye(3)[label]).movedim(-1, 0) for label in labels])

    pair = one_hot(predictions), one_hot(truths)
    nsd = metrics.compute_surface_dice(*pair, class_thresholds=[1.0, 1.0], spacing=spacing)
    hd95 = metrics.compute_hausdorff_distance(*pair, percentile=95, spacing=spacing)
    dice = metrics.DiceHelper(include_background=False, reduction="none", get_not_nans=False, num_classes=3)(*pair)
    assert ours["nsd"] == pytest.approx(float(nsd.mean()), rel=1e-6)
    assert ours["hd95"] == pytest.approx(float(hd95.mean()), rel=1e-6)
    assert ours["dice"] == pytest.approx(float(dice.mean()), rel=1e-6)


def test_a_plane_has_an_outline_not_two_faces() -> None:
    truth, prediction = np.zeros((9, 9, 1), np.uint8), np.zeros((9, 9, 1), np.uint8)
    truth[1:8, 1:8] = 1
    prediction[1:8, 1:8] = 1
    prediction[4, 4] = 0  # a hole in the middle: 4 voxels of outline 3 mm deep, were the inside not surface
    got = values(prediction, truth)
    flat = brute(prediction[..., 0] == 1, truth[..., 0] == 1, (1.0, 1.0))
    assert (got["nsd"], got["hd95"]) == (flat.nsd, flat.hd95)
    assert 0.8 < got["nsd"] < 1


def test_a_spacing_that_float32_rounds_keeps_neighbours_within_a_millimetre() -> None:
    truth, prediction = np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.uint8)
    truth[2:5, 2:5, 2:5] = 1
    prediction[3:6, 2:5, 2:5] = 1
    assert values(prediction, truth, spacing=(1.0000001, 1.0, 1.0))["nsd"] == 1.0
    assert values(prediction, truth, spacing=(1.1, 1.0, 1.0))["nsd"] < 1.0


def test_a_class_in_neither_has_no_weight() -> None:
    truth = np.where(blobs(0) == 1, 1, 0)
    prediction = np.where(blobs(1) == 1, 1, 0)
    overlap = 2 * ((truth == 1) & (prediction == 1)).sum() / ((truth == 1).sum() + (prediction == 1).sum())
    scores = score(segmentations([prediction]), [truth], labels=LABELS)
    assert scores.statistics["dice"].value() == pytest.approx(overlap)
    assert scores.statistics["dice-anterior"].value() == pytest.approx(overlap)
    assert scores.statistics["dice-posterior"].weight.tolist() == [0.0]


@pytest.mark.parametrize("swap", [False, True])
def test_a_class_in_one_alone_scores_worst(swap: bool) -> None:
    truth = blobs(0)
    prediction = np.where(truth == 2, 0, truth)
    pair = (truth, prediction) if swap else (prediction, truth)
    got = values(*pair, spacing=(1.0, 2.0, 2.0))
    assert got["dice-posterior"] == 0.0
    assert got["dice"] == pytest.approx(0.5)
    diagonal = np.sqrt(12**2 + 20**2 + 18**2)
    assert got["hd95"] == pytest.approx(diagonal / 2)
    assert got["nsd"] == pytest.approx(0.5)


def test_a_case_without_any_class_has_no_weight() -> None:
    empty = np.zeros((5, 5, 5), np.uint8)
    truth = blobs(0)
    scores = score(segmentations([empty, truth]), [empty, truth], labels=LABELS)
    for name, statistic in scores.statistics.items():
        assert statistic.weight.tolist() == [0.0, 1.0], name
        assert statistic.value() == pytest.approx(float(name.startswith(("dice", "nsd")))), name


def test_cases_weigh_alike_whatever_their_classes() -> None:
    full, half = blobs(0), np.where(blobs(1) == 1, 1, 0)
    wrong = np.where(full == 1, 2, np.where(full == 2, 1, 0))
    scores = score(segmentations([wrong, half]), [full, half], labels=LABELS)
    assert scores.statistics["dice"].value() == pytest.approx((0.0 + 1.0) / 2)


def test_dice_does_not_pay_for_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counting(*arguments, real: Callable = surface_distances):
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr("omniform_medical.metrics.surface_distances", counting)
    scores = score(segmentations([blobs(0)]), [blobs(1)], labels=LABELS)
    assert scores.statistics["dice"].value() > 0
    assert not calls
    assert scores.statistics["hd95"].value() > 0
    assert len(calls) == 2  # one a class
    assert scores.statistics["nsd"] is scores.statistics["nsd"]
    assert len(calls) == 2


def test_statistics_let_go_of_the_volumes_once_all_are_known() -> None:
    import gc
    import weakref

    predictions = segmentations([blobs(0)])
    seen = weakref.ref(predictions.cases[0].label)
    scores = score(predictions, [blobs(1)], labels=LABELS)
    scores.values()
    del predictions
    gc.collect()
    assert seen() is None
    assert set(scores.statistics) == set(scores.values())


def test_calibration_error_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.integers(0, 256, 5000).astype(np.uint8)
    confidence[:40] = np.repeat(np.arange(0, 256, 17)[:10], 4)  # on the borders of bins
    right = rng.random(5000) < (confidence / 255) ** 2
    expected = 0.0
    for index in range(15):
        inside = (15 * confidence.astype(int) > 255 * index) & (15 * confidence.astype(int) <= 255 * (index + 1))
        inside |= (confidence == 0) & (index == 0)
        if inside.any():
            gap = abs(right[inside].mean() - (confidence[inside] / 255).mean())
            expected += inside.mean() * gap
    assert calibration_error(*confidence_counts(confidence, right)) == pytest.approx(expected, rel=1e-12)


def test_calibration_error_looks_around_the_foreground_alone() -> None:
    truth = np.zeros((60, 20, 20), np.uint8)
    truth[8:12, 8:12, 8:12] = 1
    prediction = np.zeros_like(truth)
    prediction[9:12, 8:12, 8:12] = 1
    confidence = np.full(truth.shape, 204, np.uint8)  # 0.8
    confidence[30:] = 0  # far off
    inside = np.s_[4:16, 4:16, 4:16]
    expected = abs((truth == prediction)[inside].mean() - 0.8)
    got = values(prediction, truth, confidence=confidence)["ece"]
    assert got == pytest.approx(expected, rel=1e-9)


def test_metrics_of_are_those_that_score_gives() -> None:
    config = SegmentConfig(labels='0=background,1=anterior,"2=posterior, lower"')
    names = [metric.name for metric in metrics_of(config)]
    assert names == ["dice", "nsd", "hd95", "ece", "dice-anterior", "dice-posterior, lower"]
    labels = ("background", "anterior", "posterior, lower")
    scores = score(segmentations([blobs(0)], names=labels), [blobs(1)], labels=labels)
    assert list(scores.statistics) == names
    many = SegmentConfig(labels=",".join(f"{i}=c{i}" for i in range(8)))
    assert [metric.name for metric in metrics_of(many)] == ["dice", "nsd", "hd95", "ece"]
    assert not metrics_of(config)[0].lower_is_better
    assert not metrics_of(config)[1].lower_is_better
    assert metrics_of(config)[2].lower_is_better


def test_case_table_agrees_with_the_scores() -> None:
    truths, predictions = [blobs(0), np.where(blobs(1) == 1, 1, 0)], [blobs(2), np.where(blobs(3) == 1, 1, 0)]
    given = segmentations(predictions, spacing=(0.5, 2.0, 3.0))
    rows = case_table(given, truths, LABELS)
    assert [(row.case, row.label) for row in rows] == [
        (case, label) for case in ("case-0", "case-1") for label in LABELS[1:]
    ]
    assert rows[0].truth_ml == pytest.approx((truths[0] == 1).sum() * 3.0 / 1000)
    assert rows[1].predicted_ml == pytest.approx((predictions[0] == 2).sum() * 3.0 / 1000)
    assert rows[3].dice is rows[3].nsd is rows[3].hd95 is None
    scores = score(given, truths, labels=LABELS).values()
    for name in ("dice", "nsd", "hd95"):
        cases = [np.mean([getattr(row, name) for row in rows[:2]]), getattr(rows[2], name)]
        assert scores[name] == pytest.approx(np.mean(cases))


def _noisy(count: int) -> Scores:
    truths = [blobs(seed) for seed in range(count)]
    rng = np.random.default_rng(1)
    predictions = [np.where(rng.random(truth.shape) < 0.1 + 0.02 * i, 0, truth) for i, truth in enumerate(truths)]
    return score(segmentations(predictions), truths, labels=LABELS)


def test_intervals_hold_the_mean_and_shrink_to_nothing_with_two_cases() -> None:
    scores = _noisy(8)
    got = interval(scores, "dice")
    assert got.low is not None
    assert got.high is not None
    assert got.low < got.value < got.high
    per_case = scores.statistics["dice"].total
    spread = 1.96 * per_case.std() / np.sqrt(len(per_case))
    assert got.high - got.low == pytest.approx(2 * spread, rel=0.15)
    assert interval(_noisy(2), "dice").low is None


def test_patients_with_several_cases_are_drawn_whole() -> None:
    truths = [blobs(seed) for seed in range(6)]
    predictions = [np.where(truth == 2, index % 2, truth) for index, truth in enumerate(truths)]
    groups = np.array([0, 0, 1, 1, 1, 1])
    scores = score(segmentations(predictions), truths, labels=LABELS, groups=groups)
    assert interval(scores, "dice").low is None  # two patients are too few


def test_a_difference_to_itself_is_nothing() -> None:
    scores = _noisy(5)
    got = against(scores, scores, "dice")
    assert (got.value, got.low, got.high) == (0.0, 0.0, 0.0)


def test_shapes_and_counts_that_differ_are_faults() -> None:
    with pytest.raises(ValueError, match="a truth for each of 1"):
        score(segmentations([blobs(0)]), [], labels=LABELS)
    with pytest.raises(ValueError, match="case-0"):
        score(segmentations([blobs(0)]), [blobs(0)[1:]], labels=LABELS).values()


def test_forty_hippocampi_take_seconds() -> None:
    folder = Path(os.environ.get("OMNIFORM_DATA", "absent"), "medical/msd_hippocampus/labelsTr")
    if not folder.is_dir():
        pytest.skip("OMNIFORM_DATA names no folder with medical/msd_hippocampus")
    nibabel = pytest.importorskip("nibabel")
    labels = [np.asarray(nibabel.load(path).dataobj, np.uint8) for path in sorted(folder.glob("*.nii.gz"))[:40]]
    moved = [np.roll(label, 1, axis=0) for label in labels]
    start = time.process_time()
    got = score(segmentations(moved), labels, labels=LABELS).values()
    assert time.process_time() - start < 5
    assert 0.7 < got["dice"] < 0.99
    assert got["hd95"] == pytest.approx(1.0, abs=0.2)
