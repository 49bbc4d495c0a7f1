"""Grids in space, beside SimpleITK's own sums."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from omniform_medical.geometry import Geometry

SHAPE = (7, 6, 5)


def moved(affine, **places):
    changed = affine.copy()
    for place, value in places.items():
        changed[int(place[1]), int(place[2])] += value
    return Geometry(SHAPE, changed)


def test_a_grid_does_not_differ_from_itself(affine):
    assert Geometry(SHAPE, affine).differs(Geometry(SHAPE, affine.copy())) is None


def test_less_than_a_thousandth_of_a_millimetre_is_no_difference():
    grid = Geometry(SHAPE, np.eye(4))
    assert grid.differs(moved(np.eye(4), a03=0.0009)) is None
    assert grid.differs(moved(np.eye(4), a03=0.0011)) is not None


def test_small_errors_of_spacing_add_up_over_the_grid():
    large = Geometry((500, 6, 5), np.eye(4))
    assert large.differs(Geometry((500, 6, 5), np.diag([1.00001, 1, 1, 1]))) == (
        "another direction or spacing: corners lie up to 0.00499 mm apart"
    )


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Geometry((7, 6, 4), np.eye(4)), "7x6x4 voxels beside 7x6x5"),
        (Geometry(SHAPE, np.diag([1, 1, 2.0, 1])), "a spacing of 1 x 1 x 2 mm beside 1 x 1 x 1 mm"),
        (moved(np.eye(4), a23=-3), "its origin at 0 x 0 x -3 mm beside 0 x 0 x 0 mm"),
        (Geometry(SHAPE, np.diag([-1.0, 1, 1, 1])), "another direction or spacing: corners lie up to 12 mm apart"),
    ],
)
def test_differences_are_said_in_words(other, words):
    assert Geometry(SHAPE, np.eye(4)).differs(other) == words


def test_spacing_volume_and_corners(affine):
    grid = Geometry(SHAPE, affine)
    steps = [affine @ (*unit, 1) - affine @ (0, 0, 0, 1) for unit in np.eye(3)]
    np.testing.assert_allclose(grid.spacing, [np.sqrt((step**2).sum()) for step in steps])
    np.testing.assert_allclose(grid.voxel_volume, np.prod(grid.spacing) / 1000)
    np.testing.assert_allclose(grid.corners()[-1], (affine @ (6, 5, 4, 1))[:3])
    assert grid.corners().shape == (8, 3)


def test_lps_places_voxels_as_itk_does(affine):
    origin, spacing, direction = Geometry(SHAPE, affine).lps()
    image = sitk.Image(*SHAPE, sitk.sitkUInt8)
    image.SetOrigin(origin.tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    x, y, z = image.TransformIndexToPhysicalPoint((6, 2, 3))
    np.testing.assert_allclose((affine @ (6, 2, 3, 1))[:3], (-x, -y, z), atol=1e-9)


def test_lps_and_back(affine):
    back = Geometry.from_lps(SHAPE, *Geometry(SHAPE, affine).lps())
    np.testing.assert_allclose(back.affine, affine, atol=1e-12)
