"""The floors: descriptors by their definition, and what they can tell."""

import numpy as np
import pytest

from omniform.task import Splits
from omniform_medical.classification.descriptors import Descriptors, block_means, gradient_histograms
from omniform_medical.classification.floors import Descriptive, Prior


@pytest.fixture(scope="module")
def splits(make_album):
    album = make_album(120, channels=3)
    return Splits(album.take(range(60)), album.take(range(60, 90)), album.take(range(90, 120)))


def test_block_means_are_those_of_equal_blocks():
    values = np.random.default_rng(0).normal(size=(2, 8, 12, 3))
    expected = values.reshape(2, 4, 2, 4, 3, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(block_means(values, 4), expected)
    assert block_means(values[:, :3, :5], 4).shape == (2, 4, 4, 3)


def test_a_ramp_has_gradients_in_its_direction_alone():
    y, x = np.mgrid[:16, :16].astype(float)
    for turn in range(8):
        angle = np.pi * turn / 8
        cells = gradient_histograms((np.cos(angle) * x + np.sin(angle) * y)[None])
        assert np.linalg.norm(cells) == pytest.approx(1)
        np.testing.assert_allclose(cells[..., turn], 0.25, atol=1e-9)
        assert cells.sum() == pytest.approx(4)
    halfway = gradient_histograms((np.cos(np.pi / 16) * x + np.sin(np.pi / 16) * y)[None])
    np.testing.assert_allclose(halfway[..., 0], halfway[..., 1])
    assert np.isfinite(gradient_histograms(np.zeros((1, 16, 16)))).all()


def test_histograms_are_shares_of_training_quantiles(splits):
    descriptors = Descriptors.of(splits.train)
    features = descriptors.apply(splits.train)
    assert features.shape == (60, 64 * 3 + 16 * 3 + 128)
    bins = features[:, 192:240].reshape(60, 3, 16)
    np.testing.assert_allclose(bins.sum(axis=2), 1)
    np.testing.assert_allclose(bins.mean(axis=0), 1 / 16, atol=0.02)


def test_directions_are_told_by_gradients_and_not_by_the_prior(splits):
    told = Descriptive().fit(splits, seed=0).predict(splits.test)
    np.testing.assert_allclose(told.probabilities.sum(axis=1), 1)
    truth = splits.test.targets(told.classes)
    assert (told.best == truth).mean() > 0.9
    prior = Prior().fit(splits, seed=0).predict(splits.test)
    np.testing.assert_allclose(prior.probabilities, 1 / 3)
