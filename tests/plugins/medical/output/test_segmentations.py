"""Segmentations as files on their inputs' grids."""

from pathlib import Path

import numpy as np
import pytest

from omniform.errors import ConfigError, DataError
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.output import Wanted, confidence_path, ending_of, write_segmentations
from omniform_medical.reading import read_label
from omniform_medical.segmentation import Segmentation, Segmentations

VALUES = (0, 7, 1000)


def _predictions(affine, names=("scan",)):
    cases = []
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        label, confidence = (rng.integers(0, high, (7, 6, 5)).astype(np.uint8) for high in (3, 256))
        cases.append(Segmentation(name, label, confidence, Image(label, Geometry((7, 6, 5), affine), Path(name))))
    return Segmentations(cases, ("background", "liver", "spleen"), VALUES)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_one_case_is_a_file_with_the_files_values_on_its_grid(affine, ending, tmp_path):
    predictions = _predictions(affine)
    write_segmentations(predictions, tmp_path / f"out{ending}")
    again = read_label(tmp_path / f"out{ending}")
    np.testing.assert_array_equal(again.array, np.array(VALUES)[predictions.cases[0].label])
    assert again.geometry.differs(predictions.cases[0].like.geometry) is None
    assert [file.name for file in tmp_path.iterdir()] == [f"out{ending}"]


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_a_folder_has_a_file_for_each_case(oblique, names, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.txt").write_text("mine")
    write_segmentations(_predictions(oblique, names), tmp_path / "out", ".nrrd")
    written = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert written == [*(f"{name}.nrrd" for name in names), "other.txt"]


def test_what_cannot_be_written_is_refused_before_anything_is(oblique, tmp_path):
    one, two, twice = (_predictions(oblique, names) for names in (("a",), ("a", "b"), ("a", "a")))
    for predictions, name, ending, message in (
        (two, "out.nii.gz", ".nii.gz", "a folder for 2 cases, got the file 'out.nii.gz'"),
        (one, "out.img", ".nii.gz", "got 'out.img'"),
        (one, "out", ".img", "got '.img'"),
        (twice, "out", ".nii.gz", "'a' twice"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_segmentations(predictions, tmp_path / name, ending)
    with pytest.raises(DataError):
        write_segmentations(_predictions(oblique, ("a",)), tmp_path / "out.dcm")  # no such series
    assert not list(tmp_path.iterdir())


def test_endings_and_the_map_beside(tmp_path):
    assert ending_of(Path("a.b.NII.GZ")) == ".nii.gz"
    assert ending_of(Path("folder")) == ""
    (tmp_path / "v1.2").mkdir()
    assert ending_of(tmp_path / "v1.2") == ""
    assert confidence_path(Path("x/scan.nii.gz")) == Path("x/scan_confidence.nii.gz")
    assert confidence_path(Path("x/scan.dcm")) == Path("x/scan_confidence.nii.gz")


def test_everything_wanted_is_written(oblique, tmp_path):
    import nibabel as nib

    image = np.random.default_rng(0).random((7, 6, 5)).astype(np.float32)
    source = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image, oblique), source)
    (case,) = _predictions(oblique).cases
    case = Segmentation("scan", case.label, case.confidence, Image(image, case.like.geometry, source))
    predictions = Segmentations([case], ("background", "liver", "spleen"), VALUES)
    out = tmp_path / "out"
    wanted = Wanted(out=out, confidence=True, volumes=out / "volumes.csv", overlay=out / "pictures")
    assert wanted.write(predictions) == [out / "scan.nii.gz"]
    written = sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file())
    assert written == ["pictures/scan.png", "scan.nii.gz", "scan_confidence.nii.gz", "volumes.csv"]
    np.testing.assert_array_equal(read_label(out / "scan_confidence.nii.gz").array, case.confidence)
    assert (out / "pictures/scan.png").read_bytes().startswith(b"\x89PNG")


def test_wishes_are_checked_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    for options in (
        {"out": tmp_path / "a.xyz"},
        {"out": tmp_path / "a", "volumes": tmp_path / "v.txt"},
        {"out": tmp_path / "a", "overlay": tmp_path / "file"},
        {"out": tmp_path / "file"},
    ):
        with pytest.raises(ConfigError, match="expected"):
            Wanted(**options)
