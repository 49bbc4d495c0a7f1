from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

from omniform_medical.check import check_cohort
from omniform_medical.cohort import Cohort, read_cohort, read_inputs
from omniform_medical.config import CohortConfig
from omniform_medical.sample import load_sample
from omniform_medical.splitting import split_cohort

pytestmark = pytest.mark.skipif(find_spec("nilearn") is None, reason="nilearn is not installed")


@pytest.fixture
def cohort() -> Cohort:
    return read_cohort("sample", CohortConfig())


def _box(cohort: Cohort, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the millimetres from which and to which a case reaches, its outer voxels whole."""
    geometry = cohort.read(index).geometry
    corners, half = geometry.corners(), np.array(geometry.spacing) / 2
    return corners.min(axis=0) - half, corners.max(axis=0) + half


def test_the_sample_is_eight_sound_slabs(cohort: Cohort) -> None:
    assert [case.name for case in cohort.cases] == [f"slab-{number}" for number in range(1, 9)]
    assert cohort.labels == ("background", "grey matter", "white matter")
    assert cohort.channels == ("T1",)
    assert check_cohort(cohort) == ()
    for index in range(8):
        volume = cohort.read(index)
        assert volume.image.shape == (1, 36, 9, 78)
        assert volume.label is not None
        assert (np.bincount(volume.label.ravel(), minlength=3) > 1000).all()


def test_slabs_share_no_voxel_and_no_mirrored_one(cohort: Cohort) -> None:
    boxes = [_box(cohort, index) for index in range(8)]
    # the right hemisphere is the mirror image of the left: all lie to the left
    assert max(high[0] for _, high in boxes) <= 0
    for (_, before), (after, _) in pairwise(boxes):
        assert after[1] - before[1] >= 4


def test_the_frontmost_slabs_are_the_test(cohort: Cohort) -> None:
    splits = split_cohort(cohort, CohortConfig())
    assert [case.name for case in splits.test.cases] == ["slab-7", "slab-8"]
    assert (len(splits.train), len(splits.validation)) == (4, 2)


def test_slabs_are_where_the_template_has_them(cohort: Cohort) -> None:
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    volume = cohort.read(2)
    first = np.linalg.solve(load_mni152_template().affine, volume.geometry.affine @ (0, 0, 0, 1))[:3]
    np.testing.assert_allclose(first % 1, 0.5)  # a voxel is the middle of a cube of 2x2x2
    begin = np.floor(first).astype(int)
    t1, grey, white = (
        np.asanyarray(load().dataobj)[tuple(slice(b, b + 2 * n) for b, n in zip(begin, (36, 9, 78), strict=True))]
        for load in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    )
    for voxel in np.ndindex(36, 9, 78):
        if sum(voxel) % 50 == 0:
            cube = tuple(slice(2 * place, 2 * place + 2) for place in voxel)
            shares = [1 - grey[cube].mean() - white[cube].mean(), grey[cube].mean(), white[cube].mean()]
            assert volume.label is not None
            assert shares[volume.label[voxel]] == pytest.approx(max(shares), abs=1e-6)
    clean = t1[::2, ::2, ::2] / 8
    for corner in [(0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]:
        clean = clean + t1[corner[0] :: 2, corner[1] :: 2, corner[2] :: 2] / 8
    noise = (volume.image[0] - clean)[clean > 0.5]
    assert noise.std() == pytest.approx(0.08, rel=0.03)
    assert noise.mean() == pytest.approx(0.08**2 / (2 * 0.7), abs=2e-3)  # the bias of a magnitude
    assert not volume.image[0][clean == 0].any()


def test_the_template_is_symmetric_which_is_why_one_hemisphere_is_left_out() -> None:
    from nilearn.datasets import load_mni152_template

    array = np.asanyarray(load_mni152_template().dataobj)
    np.testing.assert_array_equal(array, array[::-1])


def test_the_sample_is_the_same_wherever_it_is_written(cohort: Cohort) -> None:
    again = replace(cohort, cases=load_sample.__wrapped__().cases)
    assert again.cases[0].images != cohort.cases[0].images
    assert again.fingerprint == cohort.fingerprint


def test_the_sample_is_an_input_too() -> None:
    cohort = read_inputs("sample", ("T1",), ("background", "grey matter", "white matter"), (0, 1, 2))
    assert cohort.read(0).label is None
