"""The Dice that a segmentation may expect of itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from omniform.serial import from_json, to_json
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.quality import Check, LabelQuality, Quality, dice, expected_dice, fit_quality
from omniform_medical.segmentation import Segmentation


def _case(label, confidence):
    label = np.asarray(label, np.uint8)
    return Segmentation(
        "a", label, np.asarray(confidence, np.uint8), Image(label, Geometry(label.shape, np.eye(4)), Path("a"))
    )


def _straight(label, confidence, classes):
    """Return the formula voxel by voxel."""
    label, p = label.astype(int), confidence / 255.0
    told = []
    for k in range(1, classes):
        hit = missed = size = 0.0
        for place in np.ndindex(label.shape):
            if label[place] == k:
                size, hit = size + 1, hit + p[place]
                continue
            around = label[tuple(slice(max(i - 2, 0), i + 3) for i in place)]
            others = set(around.ravel().tolist()) - {label[place]}
            if k in others:
                missed += (1 - p[place]) / len(others)
        told.append(2 * hit / (size + hit + missed) if size else np.nan)
    return np.array(told)


def test_expected_dice_is_the_formula():
    rng = np.random.default_rng(0)
    label = np.zeros((8, 7, 6), np.uint8)
    label[2:5, 2:6, 1:4], label[5:7, 1:4, 2:6] = 1, 3
    label[0, 6, 5] = 2
    confidence = rng.integers(90, 256, label.shape)
    np.testing.assert_allclose(
        expected_dice(_case(label, confidence), 6), _straight(label, confidence, 6), rtol=1e-5, equal_nan=True
    )


def test_certainty_expects_one_and_nothing_found_says_nothing():
    label = np.zeros((5, 5, 1), np.uint8)
    label[1:3, 1:3] = 1
    np.testing.assert_allclose(expected_dice(_case(label, np.full(label.shape, 255)), 3), [1.0, np.nan])
    assert np.isnan(expected_dice(_case(0 * label, np.full(label.shape, 99)), 3)).all()


def test_calibrated_probabilities_expect_the_dice_that_comes():
    rng = np.random.default_rng(1)
    distance = np.linalg.norm(np.indices((40, 40, 20)) - np.array([20, 20, 10])[:, None, None, None], axis=0)
    chance = 1 / (1 + np.exp((distance - 8) / 0.7))  # doubt along the border, of both sides
    label = (chance > 0.5).astype(np.uint8)
    case = _case(label, np.rint(255 * np.maximum(chance, 1 - chance)))
    scores = [dice(label, (rng.random(chance.shape) < chance).astype(np.uint8), 2)[0] for _ in range(20)]
    assert expected_dice(case, 2)[0] == pytest.approx(np.mean(scores), abs=0.02)


def test_dice_of_each_label():
    label, truth = np.array([0, 1, 1, 2, 0]), np.array([0, 1, 0, 0, 0])
    np.testing.assert_allclose(dice(label, truth, 4), [2 / 3, 0.0, np.nan])


def test_a_line_is_fitted_on_validation_and_checked_on_cases_left_out():
    rng = np.random.default_rng(2)
    expected = rng.uniform(0.6, 0.95, (40, 2))
    true = np.stack([2 * expected[:, 0] - 0.9, expected[:, 1]], axis=1) + 0.01 * rng.standard_normal((40, 2))
    true[3, 1] = np.nan
    quality = fit_quality(expected, true)
    assert quality.labels[0].slope == pytest.approx(1.5, abs=0.03)  # half-way between 2 and 1
    assert [part.check.cases for part in quality.labels] == [40, 39]
    assert quality.labels[0].check.spearman > 0.95
    assert quality.labels[1].check.mae < 0.015
    assert quality.case.mae < 0.06
    assert quality.case.cases == 40
    assert quality.labels[0].estimate(5.0) == 1.0
    assert np.isnan(quality.labels[0].estimate(float("nan")))


def test_few_cases_leave_the_expectation_as_it_is():
    quality = fit_quality(np.full((4, 1), 0.8), np.full((4, 1), 0.5))
    assert (quality.labels[0].slope, quality.labels[0].intercept) == (1.0, 0.0)
    assert quality.labels[0].check == Check(cases=4, mae=pytest.approx(0.3), spearman=None)
    assert fit_quality(np.full((4, 1), np.nan), np.full((4, 1), 0.5)) == Quality(labels=(LabelQuality(),))


def test_it_survives_json_and_a_buffer():
    rng = np.random.default_rng(3)
    quality = fit_quality(rng.random((9, 2)), rng.random((9, 2)))
    assert from_json(Quality, json.loads(json.dumps(to_json(quality))), where="quality") == quality
    assert Quality.of_rows(quality.rows()) == quality
    assert quality.rows().shape == (3, 5)
    assert Quality.of_rows(Quality.unchecked(4).rows()) == Quality.unchecked(4)
    assert str(Quality.unchecked(2).case) == "not checked on validation"
    assert "over 9 validation cases, rank correlation" in str(quality.case)
