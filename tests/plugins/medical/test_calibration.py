"""The temperature that makes logits honest."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from omniform.errors import DataError
from omniform_medical.calibration import TEMPERATURES, fit_temperature, near_foreground, negative_log_likelihood


def _drawn(temperature, count=40000, classes=4, seed=0):
    """Return logits whose softmax at `temperature` is the distribution of the labels."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((count, classes))
    chances = softmax(logits / temperature, axis=1).cumsum(axis=1)
    return logits, (rng.random((count, 1)) > chances[:, :-1]).sum(axis=1)


@pytest.mark.parametrize("planted", [0.4, 1.0, 2.5, 6.0])
def test_a_planted_temperature_is_found(planted):
    assert fit_temperature(*_drawn(planted)) == pytest.approx(planted, rel=0.03)


def test_it_is_where_a_search_finds_the_least_nll():
    logits, labels = _drawn(1.7, count=500)
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, labels, np.exp(log)), bounds=(-3, 3), options={"xatol": 1e-10}
    )
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(found.x), rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_nll_never_rises(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((6, 3)) * 10 ** rng.uniform(-2, 2), rng.integers(0, 3, 6)
    temperature = fit_temperature(logits.astype(np.float32), labels)
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[1]
    before, after = negative_log_likelihood(logits, labels), negative_log_likelihood(logits, labels, temperature)
    assert after <= before + 1e-6 * abs(before)


def test_certainty_and_ignorance_stop_at_the_bounds():
    logits = np.eye(3)
    assert fit_temperature(logits, np.arange(3)) == TEMPERATURES[0]  # always right
    assert fit_temperature(logits, (np.arange(3) + 1) % 3) == TEMPERATURES[1]  # always wrong
    assert fit_temperature(np.zeros((3, 3)), np.arange(3)) == 1.0
    assert fit_temperature(1e30 * logits, np.arange(3)) == TEMPERATURES[0]


def test_nothing_to_fit_on_is_refused():
    with pytest.raises(DataError, match="got none"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0))
    with pytest.raises(DataError, match="NaN"):
        fit_temperature(np.array([[0.0, np.nan]]), np.array([0]))


def test_near_is_a_cube_around_each_voxel():
    label = np.zeros((9, 9, 4), np.uint8)
    label[2, 6, 0] = 3
    near = near_foreground(label, 2)
    assert near.sum() == 5 * 5 * 3
    assert near[0:5, 4:9, 0:3].all()
    assert not near_foreground(np.zeros((3, 3, 3), np.uint8), 2).any()
