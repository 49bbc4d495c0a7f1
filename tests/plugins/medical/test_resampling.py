from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniform_medical.resampling import Taps, linear, nearest, resample, resample_label


@pytest.mark.parametrize(("before", "after"), [(7, 7), (7, 11), (11, 7), (5, 1), (1, 4), (20, 10), (37, 9), (9, 2)])
def test_linear_is_torchs_interpolation_and_smooths_from_a_half_on(before: int, after: int) -> None:
    line = np.random.default_rng(0).normal(size=before)
    taps = linear(before, after)
    plane = torch.from_numpy(line)[None, None, :, None].repeat(1, 1, 1, 3)
    expected = F.interpolate(plane, (after, 3), mode="bilinear", antialias=before >= 2 * after)[0, 0, :, 1]
    np.testing.assert_allclose((line[taps.index] * taps.weight).sum(axis=1), expected, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), [(4, 8), (5, 12), (12, 5), (3, 1)])
def test_nearest_is_torchs_exact_nearest(before: int, after: int) -> None:
    line = torch.arange(before, dtype=torch.float64)
    expected = F.interpolate(line[None, None], after, mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(line.numpy()[nearest(before, after).index[:, 0]], expected)


def test_three_axes_at_once_are_trilinear() -> None:
    array = np.random.default_rng(0).normal(size=(9, 20, 7)).astype(np.float32)
    shape = (12, 31, 5)
    made = resample(array, [linear(a, b) for a, b in zip(array.shape, shape, strict=True)])
    expected = F.interpolate(torch.from_numpy(array)[None, None], shape, mode="trilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_axes_without_taps_are_left_bit_equal() -> None:
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(resample(array, [None, None, None]), array)
    np.testing.assert_array_equal(resample(array, [None, nearest(4, 8), None]), array.repeat(2, axis=1))


@pytest.mark.parametrize("shape", [(17, 6, 11), (5, 3, 4), (9, 13, 8)])
def test_a_label_is_the_argmax_of_interpolated_indicators(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    coarse = random.choice([0, 0, 1, 2, 5], size=(3, 4, 3))  # 3 and 4 are absent
    label = coarse.repeat(4, 0).repeat(3, 1).repeat(3, 2)[:11].astype(np.uint8)
    axes: list[Taps | None] = [None if a == b else linear(a, b) for a, b in zip(label.shape, shape, strict=True)]
    shares = np.stack([_dense((label == value).astype(np.float64), axes) for value in range(6)])
    made = resample_label(label, axes)
    assert made.dtype == np.uint8
    first, second = np.sort(shares, axis=0)[:-3:-1]
    clear = first - second > 1e-5
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(made[clear], shares.argmax(axis=0)[clear])
    assert set(np.unique(made)) <= {0, 1, 2, 5}


def test_equal_shares_go_to_the_lowest_class() -> None:
    label = np.array([[2, 2, 1], [0, 0, 0]], dtype=np.uint8).T[:, :, None]  # (3, 2, 1)
    between = Taps(np.array([[1, 2], [0, 1]]), np.full((2, 2), 0.5, dtype=np.float32))
    np.testing.assert_array_equal(resample_label(label, [between, None, None])[:, 0, 0], [1, 2])
    across = Taps(np.array([[0, 1]]), np.full((1, 2), 0.5, dtype=np.float32))
    np.testing.assert_array_equal(resample_label(label, [None, across, None])[:, 0, 0], [0, 0, 0])


def test_labels_without_new_sizes_are_kept() -> None:
    label = np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.uint8)
    np.testing.assert_array_equal(resample_label(label, [None, None, None]), label)


def _dense(array: np.ndarray, axes: list[Taps | None]) -> np.ndarray:
    """Apply the taps as dense matrices in float64."""
    for axis, taps in enumerate(axes):
        if taps is None:
            continue
        matrix = np.zeros((len(taps.index), array.shape[axis]))
        for new, (index, weight) in enumerate(zip(taps.index, taps.weight, strict=True)):
            np.add.at(matrix[new], index, weight)
        array = np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)
    return array
