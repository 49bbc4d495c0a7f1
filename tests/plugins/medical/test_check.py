import os
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from omniform.errors import DataError
from omniform_medical.check import Finding, check_cohort, refuse, survey_cohort
from omniform_medical.cohort import Cohort, read_cohort
from omniform_medical.config import CohortConfig

_SHAPE = (6, 5, 4)
_LABELS = "0=background,1=one,2=two"


def _save(path: Path, array: np.ndarray, spacing: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(array, np.diag([spacing, 1.0, 1.0, 1.0])), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six sound cases, `0` to `5`, of two classes."""
    rng = np.random.default_rng(0)
    label = np.zeros(_SHAPE, np.uint8)
    label[:2], label[2:3] = 1, 2
    for name in range(6):
        _save(tmp_path / f"images/{name}.nii", 100 * rng.normal(size=_SHAPE).astype(np.float32))
        _save(tmp_path / f"labels/{name}.nii", label)
    return tmp_path


def _cohort(folder: Path) -> Cohort:
    return read_cohort(folder, CohortConfig(labels=_LABELS))


def _found(folder: Path) -> list[tuple[str, str]]:
    return [(finding.case, finding.severity) for finding in check_cohort(_cohort(folder))]


def test_nothing_is_found_in_sound_cases(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    assert check_cohort(_cohort(folder), progress=lambda done, total: told.append((done, total))) == ()
    assert told == [(number, 6) for number in range(1, 7)]


def test_measures_are_those_of_the_files(folder: Path) -> None:
    _save(folder / "images/0.nii", np.arange(120, dtype=np.float32).reshape(_SHAPE), spacing=2.0)
    _save(folder / "labels/0.nii", np.ones(_SHAPE, np.uint8), spacing=2.0)
    measure = survey_cohort(_cohort(folder)).measures[0]
    assert (measure.case, measure.shape, measure.spacing) == ("0", _SHAPE, (2.0, 1.0, 1.0))
    np.testing.assert_allclose(measure.contrasts, [np.arange(120).std()], rtol=1e-12)
    assert measure.counts is not None
    assert measure.counts.tolist() == [0, 120, 0]
    assert measure.voxel_volume == pytest.approx(0.002)


def test_every_case_that_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "images/1.nii").write_bytes(b"nothing")
    _save(folder / "labels/3.nii", np.full(_SHAPE, 9, np.uint8))
    _save(folder / "labels/4.nii", np.ones(_SHAPE, np.uint8), spacing=3.0)
    _save(folder / "images/5.nii", np.full(_SHAPE, np.nan, np.float32))
    findings = check_cohort(_cohort(folder))
    assert [(finding.case, finding.severity) for finding in findings] == [(name, "error") for name in "1345"]
    assert findings[1].text.startswith("120 voxels have the label 9")
    assert findings[2].text.startswith("the label does not lie on the grid of the image: a spacing")
    assert "NaN" in findings[3].text
    with pytest.raises(DataError, match=r"^case '1': .*\(and 3 more: omniform medical check DATA lists them\)$"):
        refuse(findings)


def test_images_that_two_cases_have_are_errors_however_they_are_stored(folder: Path) -> None:
    image = np.round(nibabel.nifti1.load(folder / "images/2.nii").get_fdata())
    _save(folder / "images/2.nii", image.astype(np.float32))
    _save(folder / "images/5.nii", image.astype(np.int16))
    (finding,) = check_cohort(_cohort(folder))
    assert (finding.case, finding.severity) == ("5", "error")
    assert "that of the case '2'" in finding.text


def test_a_class_that_no_case_has_is_an_error_and_one_of_a_single_case_a_warning(folder: Path) -> None:
    for name in range(6):
        _save(folder / f"labels/{name}.nii", np.ones(_SHAPE, np.uint8))
    assert _found(folder) == [("", "error")]
    _save(folder / "labels/3.nii", np.full(_SHAPE, 2, np.uint8))
    assert _found(folder) == [("3", "warning")]


def test_odd_cases_are_warned_of(folder: Path) -> None:
    _save(folder / "labels/0.nii", np.zeros(_SHAPE, np.uint8))
    _save(folder / "images/1.nii", np.full(_SHAPE, 7, np.float32))
    label = nibabel.nifti1.load(folder / "labels/2.nii").get_fdata().astype(np.uint8)
    rng = np.random.default_rng(1)
    _save(folder / "images/2.nii", 100 * rng.normal(size=_SHAPE).astype(np.float32), spacing=4.5)
    _save(folder / "labels/2.nii", label, spacing=4.5)
    _save(folder / "images/3.nii", rng.uniform(size=_SHAPE).astype(np.float32))
    findings = check_cohort(_cohort(folder))
    assert {finding.severity for finding in findings} == {"warning"}
    told = {finding.case: finding.text for finding in findings}
    assert "background everywhere" in told["0"]
    assert "one value everywhere" in told["1"]
    assert "spacing of 1 x 1 x 4.5 mm is far from the usual 1 x 1 x 1 mm" in told["2"]
    assert "than usual in '3'" in told[""]
    refuse(findings)


def test_axes_in_another_order_are_no_other_spacing(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for name in range(6):
        spacing = np.diag([1.0, 1.0, 8.0, 1.0] if name else [8.0, 1.0, 1.0, 1.0])
        image = nibabel.nifti1.Nifti1Image(rng.normal(size=_SHAPE).astype(np.float32), spacing)
        label = nibabel.nifti1.load(folder / f"labels/{name}.nii").get_fdata().astype(np.uint8)
        nibabel.nifti1.save(image, folder / f"images/{name}.nii")
        nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(label, spacing), folder / f"labels/{name}.nii")
    assert _found(folder) == []


def test_one_error_is_said_alone_and_warnings_pass() -> None:
    warning = Finding("a", "warning", "odd")
    refuse([warning])
    with pytest.raises(DataError, match=r"^case 'b': wrong$"):
        refuse([warning, Finding("b", "error", "wrong")])
    with pytest.raises(DataError, match=r"^no class$"):
        refuse([Finding("", "error", "no class")])


def test_real_data_are_checked_in_seconds() -> None:
    folder = Path(os.environ.get("OMNIFORM_DATA", "absent"), "medical/msd_hippocampus")
    if not folder.exists():
        pytest.skip("OMNIFORM_DATA names no folder with medical/msd_hippocampus")
    start = time.process_time()
    findings = check_cohort(read_cohort(folder, CohortConfig()))
    assert time.process_time() - start < 5
    refuse(findings)
