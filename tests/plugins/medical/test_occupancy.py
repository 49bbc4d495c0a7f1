from __future__ import annotations

import numpy as np
import pytest

from omniform_medical.occupancy import background, bounding_box, moments


def test_background_is_the_minimum_unless_all_corners_are_zero() -> None:
    air = np.full((5, 6, 7), -1000, dtype=np.float32)
    air[1:3, 2:4, 2:5] = 40
    assert background(air) == -1000
    erased = np.zeros((5, 6, 7), dtype=np.float32)
    erased[2, 2, 2] = -1.5
    assert background(erased) == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_box_surrounds_every_channel_within_the_margin(order: tuple[int, int, int]) -> None:
    image = np.zeros((2, 30, 20, 25), dtype=np.float32)
    image[0, 10:12, 5, 7] = 3
    image[1, 11, 6:9, 7] = -2
    axes = tuple(np.argsort(order))
    image = np.ascontiguousarray(image.transpose(0, *(1 + each for each in order))).transpose(
        0, *(1 + int(each) for each in axes)
    )  # the same values, another order in memory
    assert bounding_box(image, [0, 0], margin=0) == ((10, 12), (5, 9), (7, 8))
    assert bounding_box(image, [0, 0], margin=2) == ((8, 14), (3, 11), (5, 10))


def test_box_of_nothing_is_everything() -> None:
    assert bounding_box(np.full((1, 3, 4, 5), 7.0), [7], margin=2) == ((0, 3), (0, 4), (0, 5))


def test_moments_leave_the_background_out() -> None:
    channel = np.random.default_rng(0).normal(1e4, 2, size=(40, 9, 8)).astype(np.float32)
    channel[:20] = 0
    mean, std = moments(channel, 0)
    exact = channel[20:].astype(np.float64)
    assert mean == pytest.approx(exact.mean(), rel=1e-12)
    assert std == pytest.approx(exact.std(), rel=1e-9)
    assert moments(np.full((2, 2, 2), 3.0), 3) == (3, 0)
