from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniform.errors import DataError
from omniform_medical.case import Volume
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.plan import Intensity, Plan
from omniform_medical.preprocessing import make_frame, prepare

PLAN = Plan(
    spacing=(1.0, 1.0, 1.0),
    patch=(8, 8, 8),
    strides=((2, 2, 2),),
    normalization=("zscore",),
    intensities=(Intensity(low=-10, high=10, mean=1, std=4),),
    batch=2,
)


def make_volume(image: np.ndarray, spacing: tuple[float, ...] = (1, 1, 1), label: np.ndarray | None = None) -> Volume:
    shape = image.shape[1:]
    geometry = Geometry((shape[0], shape[1], shape[2]), np.diag([*spacing, 1.0]))
    return Volume(image, label, Image(image[0], geometry, Path("case.nii.gz")))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5, 2, shape).astype(np.float32)


def test_the_plans_spacing_is_not_resampled_bit_for_bit() -> None:
    image = noise(1, 9, 7, 6)
    label = np.random.default_rng(1).integers(0, 3, (9, 7, 6)).astype(np.uint8)
    prepared = prepare(make_volume(image, (1.009, 0.995, 1), label), PLAN, "a")
    assert prepared.frame.shape == (9, 7, 6)
    assert prepared.frame.box == ((0, 9), (0, 7), (0, 6))
    inside = image[image != image.min()].astype(np.float64)
    expected = (image - np.float32(inside.mean())) / np.float32(inside.std())
    np.testing.assert_array_equal(prepared.image, expected)
    assert prepared.label is not None
    np.testing.assert_array_equal(prepared.label, label)
    np.testing.assert_array_equal(prepared.truth, label)


def test_one_percent_is_the_same_spacing_and_more_is_not() -> None:
    geometry = Geometry((200, 200, 200), np.diag([1.0095, 0.9905, 1.015, 1.0]))
    assert make_frame(geometry, (1, 1, 1)).shape == (200, 200, 203)


def test_a_ct_is_clipped_and_scaled_by_the_plan() -> None:
    image = noise(1, 6, 5, 4) * 5
    prepared = prepare(make_volume(image), replace(PLAN, normalization=("ct",)), "a")
    np.testing.assert_allclose(prepared.image, (image.clip(-10, 10) - 1) / 4, rtol=1e-6, atol=1e-6)


def test_empty_margins_go_whatever_the_label() -> None:
    image = np.zeros((1, 40, 30, 20), dtype=np.float32)
    image[0, 10:20, 10:20, 5:15] = noise(10, 10, 10)
    label = np.zeros((40, 30, 20), dtype=np.uint8)
    label[15, 12, 6] = label[25, 12, 6] = 1
    plain = prepare(make_volume(image), PLAN, "a")
    assert plain.frame.box == ((8, 22), (8, 22), (3, 17))
    assert plain.image.shape == (1, 14, 14, 14)
    inside = image[image != 0].astype(np.float64)
    assert plain.image[0, 0, 0, 0] == pytest.approx(-inside.mean() / inside.std(), rel=1e-5)
    labelled = prepare(make_volume(image, label=label), PLAN, "a")
    assert labelled.label is not None
    assert labelled.frame.box == plain.frame.box
    assert labelled.label.sum() == 1
    assert labelled.label[15 - 8, 12 - 8, 6 - 3] == 1
    assert labelled.truth is not None
    assert labelled.truth.sum() == 2  # what lies on nothing is missed, and scored so


def test_the_file_is_turned_to_canonical_axes() -> None:
    image = noise(1, 6, 5, 4)
    affine = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])  # axes: back, up, right
    volume = Volume(image, None, Image(image[0], Geometry((6, 5, 4), affine), Path("case.nii.gz")))
    prepared = prepare(volume, PLAN, "a")
    assert (prepared.frame.axes, prepared.frame.flips) == ((2, 0, 1), (False, True, False))
    expected = prepare(make_volume(image.transpose(0, 3, 1, 2)[:, :, ::-1]), PLAN, "a")
    np.testing.assert_allclose(prepared.image, expected.image, atol=1e-6)


def test_images_are_interpolated_at_the_plans_spacing() -> None:
    image = noise(1, 12, 10, 9)
    volume = make_volume(image, (0.5, 1.5, 1.2))
    prepared = prepare(volume, PLAN, "a")
    assert prepared.frame.shape == (6, 15, 11)
    across = torch.from_numpy(image).movedim(1, 2)  # (1, Y, X, Z)
    halved = F.interpolate(across, size=(6, 9), mode="bilinear", antialias=True).movedim(2, 1)
    expected = F.interpolate(halved[None], size=(6, 15, 11), mode="trilinear")[0].numpy()
    inside = image[image != image.min()].astype(np.float64)
    np.testing.assert_allclose(prepared.image, (expected - inside.mean()) / inside.std(), atol=1e-5)


def test_thick_slices_are_repeated_not_interpolated() -> None:
    image = noise(1, 8, 8, 3)
    prepared = prepare(make_volume(image, (1, 1, 4)), PLAN, "a")
    assert prepared.frame.shape == (8, 8, 12)
    np.testing.assert_array_equal(prepared.image, prepared.image[..., ::4].repeat(4, axis=-1))


def test_planes_of_a_planar_plan_are_all_kept() -> None:
    image = np.zeros((1, 20, 20, 9), dtype=np.float32)
    image[0, 5:15, 5:15, 4] = noise(10, 10)
    prepared = prepare(make_volume(image, (2, 2, 7)), replace(PLAN, patch=(8, 8, 1)), "a")
    assert prepared.frame.shape == (28, 28, 9)
    assert prepared.frame.box == ((3, 17), (3, 17), (0, 9))


def test_a_label_survives_there_and_back() -> None:
    grid = np.stack(np.meshgrid(*(np.arange(24) - 11.5,) * 3, indexing="ij"))
    label = (np.linalg.norm(grid, axis=0) < 9).astype(np.uint8)
    label[grid[0] > 3] *= 2
    prepared = prepare(make_volume(noise(1, 24, 24, 24), (0.8, 1.4, 1), label), PLAN, "a")
    assert prepared.label is not None
    for value in (1, 2):
        volume = (prepared.label == value).sum() / ((label == value).sum() * 0.8 * 1.4)
        assert volume == pytest.approx(1, abs=0.05)


def test_a_constant_channel_becomes_zero() -> None:
    prepared = prepare(make_volume(np.full((1, 4, 4, 4), 3.3, dtype=np.float32)), PLAN, "a")
    np.testing.assert_array_equal(prepared.image, 0)


def test_what_is_kept_of_the_file_is_its_geometry() -> None:
    volume = make_volume(noise(1, 5, 5, 5))
    like = prepare(volume, PLAN, "a").like
    assert like.geometry is volume.like.geometry
    assert like.array.shape == (5, 5, 5)
    assert like.array.strides == (0, 0, 0)  # no voxels


def test_users_mistakes_are_said() -> None:
    with pytest.raises(DataError, match="expected 1 channels in a, as the plan has, got 2"):
        prepare(make_volume(noise(2, 4, 4, 4)), PLAN, "a")
    for bad in (np.nan, np.inf):
        image = noise(1, 4, 4, 4)
        image[0, 1, 2, 3] = bad
        with pytest.raises(DataError, match="finite numbers in a"):
            prepare(make_volume(image), PLAN, "a")


def test_prepared_voxels_lie_where_the_frame_says() -> None:
    """A ramp in canonical millimetres keeps its value at the place that Frame's docstring names."""
    geometry = Geometry((30, 8, 8), np.diag([0.7, 1, 1, 1.0]))
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None, None], geometry.shape)
    frame = make_frame(geometry, (1, 1, 1), ((3, 27), (0, 8), (0, 8)))
    assert frame.shape == (17, 8, 8)
    plan = replace(PLAN, normalization=("ct",), intensities=(Intensity(low=-99, high=99, mean=0, std=1),))
    prepared = prepare(make_volume(ramp[None], (0.7, 1, 1)), plan, "a")
    (low, high), n = prepared.frame.box[0], prepared.frame.shape[0]
    place = low + (np.arange(n) + 0.5) * (high - low) / n - 0.5
    np.testing.assert_allclose(prepared.image[0, 1:-1, 4, 4], place[1:-1], atol=1e-5)


@pytest.mark.skipif("OMNIFORM_DATA" not in os.environ, reason="needs OMNIFORM_DATA")
def test_hippocampus_is_normalised_on_its_own_grid() -> None:
    from omniform_medical.case import Case, read_volume

    folder = Path(os.environ["OMNIFORM_DATA"]) / "medical" / "msd_hippocampus"
    path = sorted((folder / "imagesTr").glob("hippocampus_*.nii.gz"))[0]
    case = Case("a", (path,), folder / "labelsTr" / path.name)
    volume = read_volume(case, ("background", "anterior", "posterior"), (0, 1, 2))
    prepared = prepare(volume, PLAN, "a")
    assert prepared.label is not None
    assert prepared.label.any()
    body = prepared.image[prepared.image != prepared.image.min()]
    assert abs(float(body.mean())) < 1e-3
    assert float(body.std()) == pytest.approx(1, abs=1e-3)
