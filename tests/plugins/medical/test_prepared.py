from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from omniform_medical.geometry import Geometry
from omniform_medical.prepared import Frame
from omniform_medical.preprocessing import make_frame

SHAPE = (4, 5, 6)


def affines() -> list[np.ndarray]:
    """Every permutation and flip of three spacings, and each tilted by up to 20 degrees."""
    random = np.random.default_rng(0)
    made = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.diag([0.7, 1.1, 2.5])[:, order] * signs
        affine[:3, 3] = random.normal(size=3)
        made.append(affine)
        tilted = affine.copy()
        tilted[:3, :3] = Rotation.from_rotvec(random.uniform(-0.2, 0.2, 3)).as_matrix() @ affine[:3, :3]
        made.append(tilted)
    return made


def test_canonical_is_nibabels_closest_canonical() -> None:
    array = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    for affine in affines():
        frame = make_frame(Geometry(SHAPE, affine), (None, None, None))
        expected = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
        np.testing.assert_array_equal(frame.canonical(array), np.asarray(expected.dataobj))
        spacing = [frame.geometry.spacing[axis] for axis in frame.axes]
        np.testing.assert_allclose(spacing, expected.header.get_zooms(), rtol=1e-5)
        assert frame.shape == expected.shape


@pytest.mark.parametrize("leading", [(), (2,), (3, 2)])
def test_native_undoes_canonical_and_both_are_views(leading: tuple[int, ...]) -> None:
    array = np.arange(np.prod((*leading, *SHAPE))).reshape(*leading, *SHAPE)
    for affine in affines():
        frame: Frame = make_frame(Geometry(SHAPE, affine), (None, None, None))
        canonical = frame.canonical(array)
        back = frame.native(canonical)
        np.testing.assert_array_equal(back, array)
        assert np.shares_memory(canonical, array)
        assert np.shares_memory(back, array)
