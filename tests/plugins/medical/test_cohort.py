import os
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from omniform.errors import ConfigError, DataError
from omniform_medical.cohort import Case, Cohort, read_cohort, read_inputs
from omniform_medical.config import CohortConfig

_SHAPE = (3, 4, 5)


def _save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def _label(*values: int) -> np.ndarray:
    label = np.zeros(_SHAPE, np.uint8)
    label[0, 0, : len(values)] = values
    return label


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases of two channels with labels 0, 2 and 5."""
    rng = np.random.default_rng(0)
    for name, values in (("a", (5, 2, 2)), ("b", (2,))):
        for channel in range(2):
            _save(tmp_path / f"images/{name}_{channel:04}.nii.gz", rng.normal(size=_SHAPE).astype(np.float32))
        _save(tmp_path / f"labels/{name}.nii.gz", _label(*values))
    return tmp_path


def test_a_case_is_read_in_the_order_of_its_files(folder: Path) -> None:
    cohort = read_cohort(folder, CohortConfig())
    assert (cohort.channels, cohort.labels, cohort.values) == (
        ("channel 0", "channel 1"),
        ("background", "2", "5"),
        (0, 2, 5),
    )
    volume = cohort.read(0)
    expected = [nibabel.nifti1.load(folder / f"images/a_{channel:04}.nii.gz").get_fdata() for channel in range(2)]
    np.testing.assert_array_equal(volume.image, np.array(expected, np.float32))
    assert volume.image.dtype == np.float32
    assert volume.label is not None
    assert volume.label.dtype == np.uint8
    # values become places among the classes
    np.testing.assert_array_equal(volume.label[0, 0], [2, 1, 1, 0, 0])
    assert volume.label.sum() == 4
    assert volume.geometry.shape == _SHAPE


def test_options_overrule_the_folder(folder: Path) -> None:
    config = CohortConfig(labels="0=background,2=oedema,5=tumour,9=unseen", channels="T1,FLAIR")
    cohort = read_cohort(folder, config)
    assert cohort.labels == ("background", "oedema", "tumour", "unseen")
    assert cohort.channels == ("T1", "FLAIR")
    with pytest.raises(ConfigError, match="each of the 2 channels that cases have, got T1"):
        read_cohort(folder, CohortConfig(channels="T1"))
    with pytest.raises(ConfigError, match="--labels such as"):
        read_cohort(folder, CohortConfig(labels="tumour"))


def test_one_channel_is_called_image(tmp_path: Path) -> None:
    _save(tmp_path / "images/a.nii", np.ones(_SHAPE, np.float32))
    _save(tmp_path / "labels/a.nii", _label(1))
    cohort = read_cohort(tmp_path, CohortConfig())
    assert cohort.channels == ("image",)
    assert cohort.read(0).image.shape == (1, *_SHAPE)


@pytest.mark.parametrize(
    ("file", "shape", "shift", "words"),
    [
        ("labels/b.nii.gz", (3, 4, 6), 0.0, "case 'b': the label does not lie on the grid of the image: 3x4x6 voxels"),
        ("labels/b.nii.gz", _SHAPE, 0.5, "case 'b': the label does not lie on the grid of the image: its origin at"),
        ("images/b_0001.nii.gz", _SHAPE, 0.5, "case 'b': channel 1 does not lie on the grid of channel 0"),
    ],
)
def test_another_grid_is_refused(folder: Path, file: str, shape: tuple[int, ...], shift: float, words: str) -> None:
    affine = np.eye(4)
    affine[0, 3] = shift
    _save(folder / file, np.ones(shape, np.uint8), affine)
    with pytest.raises(DataError, match=re.escape(words)):
        read_cohort(folder, CohortConfig(labels="0=background,1=a")).read(1)


def test_header_rounding_is_no_other_grid(folder: Path) -> None:
    affine = np.eye(4)
    affine[:3, 3] = 5e-4
    _save(folder / "labels/b.nii.gz", _label(2), affine)
    read_cohort(folder, CohortConfig()).read(1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((3, 3, 5), "case 'a': 2 voxels have the label 3, expected 0=background, 2=x, 5=y"),
        ((7,), "case 'a': 1 voxel has the label 7, expected"),
        ((3, 200, 200), "1 voxel has the label 3 and 1 other unknown values"),
    ],
)
def test_unknown_values_are_named_and_counted(folder: Path, values: tuple[int, ...], words: str) -> None:
    _save(folder / "labels/a.nii.gz", _label(*values))
    cohort = read_cohort(folder, CohortConfig(labels="0=background,2=x,5=y"))
    with pytest.raises(DataError, match=re.escape(words)):
        cohort.read(0)


def test_negative_values_are_unknown(folder: Path) -> None:
    _save(folder / "labels/a.nii.gz", np.full(_SHAPE, -1, np.int16))
    with pytest.raises(DataError, match="case 'a': 60 voxels have the label -1"):
        read_cohort(folder, CohortConfig(labels="0=background,2=x,5=y")).read(0)


def test_classes_fill_a_byte_but_for_one(tmp_path: Path) -> None:
    values = tuple(3 * value for value in range(255))
    array = np.resize(np.array(values, np.int16), (5, 6, 17))
    path = _save(tmp_path / "a.nii.gz", array)
    cohort = Cohort("set", (Case("a", (path,), path),), ("CT",), tuple(map(str, values)), values)
    label = cohort.read(0).label
    assert label is not None
    np.testing.assert_array_equal(np.array(values)[label], array)


def test_a_file_that_cannot_be_read_names_its_case(folder: Path) -> None:
    path = folder / "images/a_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"case 'a': .*a_0000\.nii\.gz"):
        read_cohort(folder, CohortConfig()).read(0)


def test_cases_have_the_same_channels(tmp_path: Path) -> None:
    for name, kind in (("a_0000", "Tr"), ("a_0001", "Tr"), ("b_0000", "Ts")):
        _save(tmp_path / f"images{kind}/{name}.nii", np.ones(_SHAPE, np.float32))
    _save(tmp_path / "labelsTr/a.nii", _label(1))
    _save(tmp_path / "labelsTs/b.nii", _label(1))
    with pytest.raises(DataError, match="case 'b' has 1 channels, case 'a' has 2"):
        read_cohort(tmp_path, CohortConfig())


def test_a_series_and_a_label_in_another_format_are_one_case(
    tmp_path: Path, dicom_series: Callable[..., Path], voxels: np.ndarray, oblique: np.ndarray
) -> None:
    dicom_series(tmp_path / "images/a", voxels, oblique)
    _save(tmp_path / "labels/a.nii.gz", (voxels > 100).astype(np.uint8), oblique)
    volume = read_cohort(tmp_path, CohortConfig()).read(0)
    # the axes of a series may run otherwise; label and image must agree voxel by voxel all the same
    assert volume.label is not None
    np.testing.assert_array_equal(volume.label, volume.image[0] > 100)


def test_planes_are_volumes_of_one_layer(tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    plane = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for kind, array in (("images", plane), ("labels", plane // 6)):
        (tmp_path / kind).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / kind / "a.png")
    volume = read_cohort(tmp_path, CohortConfig()).read(0)
    assert volume.image.shape == (1, 4, 3, 1)
    assert volume.label is not None
    np.testing.assert_array_equal(volume.label[..., 0], (plane // 6).T)


def test_the_fingerprint_is_that_of_bytes_and_names(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = read_cohort(folder, CohortConfig()).fingerprint
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert read_cohort(folder, CohortConfig(labels="0=background,2=x,5=y")).fingerprint != first
    assert read_cohort(folder, CohortConfig()).take([0]).fingerprint != first
    moved = folder.rename(tmp_path_factory.mktemp("elsewhere") / "set")
    assert read_cohort(moved, CohortConfig()).fingerprint == first
    _save(moved / "labels/b.nii.gz", _label(5))
    assert read_cohort(moved, CohortConfig()).fingerprint != first


def test_the_fingerprint_covers_the_voxels_beside_a_header(tmp_path: Path) -> None:
    header, voxels = tmp_path / "a.mhd", tmp_path / "a.raw"
    header.write_text("ElementDataFile = a.raw\n")
    found = set()
    for content in (b"1", b"2"):
        voxels.write_bytes(content)
        found.add(Cohort("set", (Case("a", (header,)),), ("CT",), ("background", "x"), (0, 1)).fingerprint)
    assert len(found) == 2


def test_inputs_are_read_without_labels(folder: Path) -> None:
    _save(folder / "labels/a.nii.gz", _label(77))
    cohort = read_inputs(folder, ("T1", "FLAIR"), ("background", "tumour"), (0, 1))
    assert [case.name for case in cohort.cases] == ["a", "b"]
    assert cohort.read(0).label is None
    assert cohort.read(0).image.shape == (2, *_SHAPE)
    assert cohort.labels == ("background", "tumour")


def test_real_data_are_read() -> None:
    folder = Path(os.environ.get("OMNIFORM_DATA", "absent"), "medical/msd_hippocampus")
    if not folder.exists():
        pytest.skip("OMNIFORM_DATA names no folder with medical/msd_hippocampus")
    cohort = read_cohort(folder, CohortConfig())
    assert (len(cohort), cohort.values) == (200, (0, 1, 2))
    volume = cohort.read(0)
    assert volume.label is not None
    assert volume.image.shape == (1, 35, 51, 35)
