"""The atlas: where classes lie, how they look, and training cases that vote."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from omniform.task import Splits
from omniform_medical.atlas import Gaussians, Placed, distances, resample, vote
from omniform_medical.calibration_error import calibration_error, confidence_counts
from omniform_medical.case import Case, Volume
from omniform_medical.cohort import Cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.floors import Atlas, floors_of
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.metrics import score
from omniform_medical.quality import dice
from omniform_medical.splitting import split_cohort


class _Drawn(Cohort):
    """Cases that are drawn when they are read: a body with two organs, whose place and brightness vary."""

    def read(self, index):
        return _body(int(self.cases[index].name), len(self.channels), len(self.source) > 0)


def _body(seed, channels, turned, shape=(24, 20, 16)):
    rng = np.random.default_rng(seed)
    size = np.array(shape) + rng.integers(-3, 4, 3) * (np.array(shape) > 1)
    place = np.indices(size).transpose(1, 2, 3, 0) / np.maximum(size - 1, 1)
    label = np.zeros(size, np.uint8)
    for k, centre in ((1, (0.3, 0.5, 0.5)), (2, (0.65, 0.4, 0.5))):
        away = (place - centre - 0.08 * rng.standard_normal(3)) / (0.16, 0.2, 0.3)
        label[(away[..., : 3 if size[2] > 1 else 2] ** 2).sum(-1) < 1] = k
    shades = np.array([[0.0, 2.0, 1.0], [0.0, 1.0, 2.5]])[:channels, label]
    image = (100 + 20 * rng.random() + 30 * (shades + 0.5 * rng.standard_normal(shades.shape))).astype(np.float32)
    affine = np.eye(4)
    if turned and seed % 2:  # the same body in a file whose first axis runs to the front, the second to the left
        image, label = image.transpose(0, 2, 1, 3)[:, :, ::-1], label.T.transpose(1, 2, 0)[:, ::-1]
        affine = np.array([[0, -1.0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    geometry = Geometry(label.shape, affine)
    return Volume(np.ascontiguousarray(image), np.ascontiguousarray(label), Image(image[0], geometry, Path("a")))


def _splits(channels=1, turned=False, labels=("background", "left", "right")):
    def cohort(first, count):
        cases = tuple(Case(str(number), (Path("a"),)) for number in range(first, first + count))
        return _Drawn("turned" * turned, cases, ("a", "b")[:channels], labels, tuple(range(len(labels))))

    return Splits(cohort(0, 24), cohort(100, 6), cohort(200, 6))


def _mean_dice(predictions, items):
    truths = [items.read(index).label for index in range(len(items))]
    return np.mean([dice(case.label, truth, 3) for case, truth in zip(predictions.cases, truths, strict=True)])


@pytest.fixture(scope="module")
def fitted():
    splits = _splits()
    return splits, {floor.name: floor.estimator.fit(splits, seed=0) for floor in floors_of()}


def test_the_vote_with_looks_beats_place_alone(fitted):
    splits, predictors = fitted
    scores = {name: _mean_dice(predictor.predict(splits.test), splits.test) for name, predictor in predictors.items()}
    assert scores["prior"] > 0.3
    assert scores["atlas"] > max(scores["prior"] + 0.1, 0.7)
    assert predictors["atlas"].weight > 0


def test_segmentations_lie_on_the_files_own_grids(fitted):
    splits, predictors = fitted
    predictions = predictors["atlas"].predict(splits.test)
    assert [case.name for case in predictions.cases] == [case.name for case in splits.test.cases]
    assert predictions.labels == splits.test.labels
    for index, case in enumerate(predictions.cases):
        volume = splits.test.read(index)
        assert case.label.shape == case.confidence.shape == volume.label.shape
        assert case.label.dtype == case.confidence.dtype == np.uint8
        assert case.like.geometry.differs(volume.geometry) is None
        assert case.confidence.min() >= 255 // 3


def test_it_is_the_choice_that_does_best_on_validation():
    splits = _splits()
    chosen = Atlas().fit(splits, seed=0)
    scores = {
        (b, a): _mean_dice(Atlas((b,), (a,)).fit(splits, seed=0).predict(splits.validation), splits.validation)
        for b in (0.0, 16.0)
        for a in (0.0, 1.0)
    }
    assert _mean_dice(chosen.predict(splits.validation), splits.validation) >= max(scores.values()) - 1e-9


def test_the_test_cases_have_no_say():
    splits = _splits()
    one, other = Atlas().fit(splits, seed=0), Atlas().fit(replace(splits, test=splits.train), seed=1)
    assert (one.sharpness, one.weight, one.temperature) == (other.sharpness, other.weight, other.temperature)


def test_axes_are_laid_over_each_other():
    plain, turned = _splits(), _splits(turned=True)
    told = [Atlas((0.0,), (1.0,)).fit(splits, seed=0).predict(splits.test) for splits in (plain, turned)]
    for index, (one, other) in enumerate(zip(*(each.cases for each in told), strict=True)):
        label = other.label
        if int(plain.test.cases[index].name) % 2:
            label = label[:, ::-1].transpose(1, 0, 2)
        assert (one.label == label).mean() > 0.99


def test_channels_classes_that_never_come_and_planes():
    splits = _splits(channels=2, labels=("background", "left", "right", "never"))
    predictor = Atlas((0.0, 16.0), (1.0,)).fit(splits, seed=0)
    predictions = predictor.predict(splits.test)
    assert _mean_dice(predictions, splits.test) > 0.85
    assert all((case.label < 3).all() for case in predictions.cases)

    class Flat(_Drawn):
        def read(self, index):
            return _body(int(self.cases[index].name), 1, False, shape=(40, 32, 1))

    parts = [Flat("", part.cases, ("a",), ("0", "1", "2"), (0, 1, 2)) for part in (splits.train, splits.validation)]
    flat = Splits(*parts, parts[1])
    predictor = Atlas().fit(flat, seed=0)
    assert predictor.cells[2] == 1
    assert _mean_dice(predictor.predict(flat.test), flat.test) > 0.7


def test_confidence_is_honest(fitted):
    splits, predictors = fitted
    counts = np.zeros((2, 256))
    predictions = predictors["atlas"].predict(splits.test)
    for index, case in enumerate(predictions.cases):
        counts += confidence_counts(case.confidence, case.label == splits.test.read(index).label)
    assert calibration_error(*counts) < 0.05


def test_a_vote_is_the_formula():
    rng = np.random.default_rng(0)
    atlases, image = rng.standard_normal((4, 2, 5, 6, 3)).astype(np.float32), rng.standard_normal((2, 5, 6, 3))
    labels = (255 * rng.dirichlet(np.ones(3), (4, 5, 6, 3)).transpose(0, 4, 1, 2, 3)).astype(np.uint8)
    unlike = distances(atlases, image.astype(np.float32))
    for n in range(4):
        square = ((atlases[n] - image) ** 2).mean(axis=0)
        widths = [1.5 / 32 * size for size in (5, 6, 3)]
        np.testing.assert_allclose(unlike[n], gaussian_filter(square, widths, mode="nearest"), rtol=1e-3)
    weight = np.exp(-7 * unlike.astype(np.float64))
    expected = (weight[:, None] * labels / 255).sum(0) / weight.sum(0)
    np.testing.assert_allclose(vote(labels, unlike, 7.0), expected, rtol=1e-4)
    np.testing.assert_allclose(vote(labels, None, 0.0), labels.mean(0) / 255, rtol=1e-5)


def test_looks_are_gaussians():
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 2)) @ np.array([[1.0, 0.6], [0.0, 0.4]]) + [1, -2]
    count, total, square = np.array([3000.0, 0]), np.stack([x.sum(0), [0, 0]]), np.stack([x.T @ x, np.zeros((2, 2))])
    looks = Gaussians.of(count, total, square)
    expected = multivariate_normal(x.mean(0), np.cov(x.T, bias=True) + 1e-3 * np.eye(2)).logpdf(x)
    np.testing.assert_allclose(looks.log_density(x.T.astype(np.float32))[0] - np.log(2 * np.pi), expected, atol=1e-3)
    assert looks.seen.tolist() == [True, False]


def test_the_box_finds_the_body_in_the_air_and_the_way_there_and_back_keeps_what_is_smooth():
    image = np.full((1, 60, 48, 40), -1000.0, np.float32)
    x = np.linspace(0, 1, 30)[:, None, None]
    image[0, 10:40, 8:40, 4:34] = 40 + 10 * x
    placed = Placed.of(Volume(image, None, Image(image[0], Geometry((60, 48, 40), np.eye(4)), Path("a"))), (32, 32, 32))
    assert placed.mean[0] > 0  # air is outside
    grid = placed.on_grid()
    assert grid.shape == (1, 32, 32, 32)
    back = resample(grid, placed.up)[0]
    inside = (slice(11, 39), slice(9, 39), slice(5, 33))
    np.testing.assert_allclose(back[inside], placed.intensities(*(slice(None),) * 3)[0][inside], atol=0.15)


def test_cases_without_foreground_are_no_fault():
    class Empty(_Drawn):
        def read(self, index):
            volume = super().read(index)
            return Volume(volume.image, 0 * volume.label, volume.like)

    cases = _splits().validation.cases
    empty = Empty("", cases, ("a",), ("0", "1", "2"), (0, 1, 2))
    told = Atlas().fit(Splits(empty, empty, empty), seed=0).predict(empty)
    assert not any(case.label.any() for case in told.cases)
    assert all((case.confidence > 250).all() for case in told.cases)


@pytest.mark.slow
def test_hippocampus():
    path = Path(os.environ.get("OMNIFORM_DATA", "absent"), "medical/msd_hippocampus")
    if not path.exists():
        pytest.skip("OMNIFORM_DATA names no folder with medical/msd_hippocampus")
    from omniform_medical.cohort import read_cohort

    cohort = read_cohort(path, SegmentConfig())
    splits = split_cohort(cohort, SegmentConfig())
    values = {}
    for floor in floors_of():
        predictions = floor.estimator.fit(splits, seed=0).predict(splits.test)
        truths = [splits.test.read(index).label for index in range(len(splits.test))]
        values[floor.name] = score(predictions, truths, labels=cohort.labels).statistics["dice"].value()
    assert values["atlas"] > 0.81
    assert values["prior"] > 0.67
