"""What is measured of cases, beside volumes whose measures are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from omniform.errors import DataError
from omniform.serial import from_json, to_json
from omniform_medical.cohort import Case, Cohort
from omniform_medical.fingerprint import Fingerprint, fingerprint

nibabel = pytest.importorskip("nibabel")

LABELS = ("background", "liver", "tumour")


def cohort(folder: Path, volumes: list[tuple], *, channels=("image",)) -> Cohort:
    """Write `(image (C, X, Y, Z), label or None, affine)` as files."""
    cases = []
    for number, (image, label, affine) in enumerate(volumes):
        paths = []
        for channel, array in enumerate(image):
            paths.append(folder / f"case{number}_{channel}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), affine), paths[-1])
        path = None
        if label is not None:
            path = folder / f"case{number}_label.nii.gz"
            nibabel.save(nibabel.Nifti1Image(label.astype(np.uint8), affine), path)
        cases.append(Case(f"case{number}", tuple(paths), path))
    return Cohort("test", tuple(cases), tuple(channels), LABELS, (0, 1, 2))


def case(seed: int, shape=(12, 10, 8), spacing=(1.0, 1.0, 1.0), channels=1):
    rng = np.random.default_rng(seed)
    image = rng.uniform(1, 100, (channels, *shape)).round(2)
    label = rng.integers(0, 3, shape).astype(np.uint8)
    return image, label, np.diag([*spacing, 1.0])


def test_foreground_statistics_are_those_of_all_its_voxels(tmp_path) -> None:
    volumes = [case(seed, channels=2) for seed in range(3)]
    got = fingerprint(cohort(tmp_path, volumes, channels=("T1", "T2")))
    for channel in range(2):
        voxels = np.concatenate([image[channel].astype(np.float32)[label > 0] for image, label, _ in volumes])
        voxels = voxels.astype(np.float64)
        told = got.channels[channel]
        assert told.mean == pytest.approx(voxels.mean(), rel=1e-9)
        assert told.std == pytest.approx(voxels.std(), rel=1e-9)
        assert (told.p00_5, told.p99_5) == pytest.approx(tuple(np.percentile(voxels, [0.5, 99.5])), rel=1e-9)
    assert [channel.name for channel in got.channels] == ["T1", "T2"]


def test_a_large_foreground_is_sampled_alike_every_time(tmp_path) -> None:
    image, label = np.random.default_rng(0).normal(50, 10, (1, 60, 60, 60)), np.ones((60, 60, 60))
    given = cohort(tmp_path, [(image, label, np.eye(4))])
    first, second = fingerprint(given), fingerprint(given)
    assert first == second
    assert first.channels[0].mean == pytest.approx(50, abs=0.3)
    assert first.channels[0].mean != pytest.approx(image.mean(), abs=1e-9)


def test_grids_are_told_along_canonical_axes(tmp_path) -> None:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -3.0, 0.5, 2.0, 1.0  # file axes: down, right, front
    image, label, _ = case(0, shape=(4, 12, 9))
    got = fingerprint(cohort(tmp_path, [(image, label, affine)])).cases[0]
    assert got.shape == (12, 9, 4)
    assert got.spacing == pytest.approx((0.5, 2.0, 3.0))


def test_empty_margins_do_not_count(tmp_path) -> None:
    image, label = np.zeros((1, 30, 20, 10)), np.zeros((30, 20, 10))
    image[0, 10:20, 5:15, 4:6] = 7.0
    label[12:14, 6:8, 4:6] = 1
    got = fingerprint(cohort(tmp_path, [(image, label, np.eye(4))]))
    assert got.cases[0].shape == (14, 14, 6)  # two voxels of margin on each side


def test_volumes_of_classes_are_millilitres_over_the_cases_that_have_them(tmp_path) -> None:
    label = np.zeros((10, 10, 10))
    label[:5] = 1
    other = label.copy()
    other[9] = 2
    image = np.ones((1, 10, 10, 10))
    affine = np.diag([2.0, 2.0, 5.0, 1.0])  # 0.02 mL
    got = fingerprint(cohort(tmp_path, [(image, label, affine), (image, other, affine)]))
    liver, tumour = got.classes
    assert (liver.name, liver.cases, tumour.cases) == ("liver", 2, 1)
    assert liver.volume is not None
    assert tumour.volume is not None
    assert liver.volume.median == pytest.approx((10.0,))
    assert tumour.volume.median == pytest.approx((2.0,))
    assert (liver.share, tumour.share) == pytest.approx((0.5, 0.05))
    assert got.cases[0].volumes == pytest.approx((10.0, 0.0))


@pytest.mark.parametrize(
    ("name", "low", "fraction", "told"),
    [
        ("image", -1000.0, 0.0, "values"),
        ("image", -1000.0, 0.25, ""),
        ("image", -400.0, 0.0, ""),
        ("CT", 0.0, 0.25, "name"),
        ("ct_venous", 0.0, 0.25, "name"),
        ("octant", 0.0, 0.0, ""),
    ],
)
def test_how_hounsfield_units_are_known(tmp_path, name: str, low: float, fraction: float, told: str) -> None:
    image = np.random.default_rng(0).integers(0, 300, (1, 8, 8, 8)) + fraction
    image[0, 0, 0, 0] = low
    label = np.ones((8, 8, 8))
    got = fingerprint(cohort(tmp_path, [(image, label, np.eye(4))], channels=(name,)))
    assert got.channels[0].hounsfield == told


def test_one_case_that_is_not_ct_is_enough(tmp_path) -> None:
    ct = np.full((1, 6, 6, 6), -1000.0)
    label = np.ones((6, 6, 6))
    given = [(ct, label, np.eye(4)), (ct * 0 + 3.5, label, np.eye(4))]
    assert fingerprint(cohort(tmp_path, given)).channels[0].hounsfield == ""


def test_percentiles_of_shape_and_spacing(tmp_path) -> None:
    shapes, spacings = [(8, 8, 8), (10, 8, 6), (12, 8, 4)], [(1.0, 1.0, 1.0), (1.0, 1.0, 2.0), (1.0, 1.0, 6.0)]
    given = [case(i, shape, spacing) for i, (shape, spacing) in enumerate(zip(shapes, spacings, strict=True))]
    got = fingerprint(cohort(tmp_path, given))
    assert got.shape.median == (10.0, 8.0, 6.0)
    assert got.spacing.median == pytest.approx((1.0, 1.0, 2.0))
    assert got.spacing.p10 == pytest.approx(tuple(np.percentile(spacings, 10, axis=0)))


def test_it_survives_json(tmp_path) -> None:
    got = fingerprint(cohort(tmp_path, [case(0)]))
    assert from_json(Fingerprint, json.loads(json.dumps(to_json(got), allow_nan=False)), where="test") == got


def test_unlabelled_cases_count_for_shape_alone(tmp_path) -> None:
    image, label, affine = case(0)
    got = fingerprint(cohort(tmp_path, [(image, label, affine), (image * 9, None, affine)]))
    alone = fingerprint(cohort(tmp_path, [(image, label, affine)]))
    assert got.channels == alone.channels
    assert len(got.cases) == 2


def test_what_cannot_be_measured_is_refused(tmp_path) -> None:
    image, label, affine = case(0)
    with pytest.raises(DataError, match="expected foreground in the 1 training cases"):
        fingerprint(cohort(tmp_path, [(image, label * 0, affine)]))
    image[:, label > 0] = np.nan
    with pytest.raises(DataError, match="case0"):
        fingerprint(cohort(tmp_path, [(image, label, affine)]))
