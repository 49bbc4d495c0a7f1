"""What files are called."""

import pytest

from omniform_medical.reading import is_image, strip_ending


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("ct.nii.gz", "ct"),
        ("ct.NII.GZ", "ct"),
        ("a.b.nii", "a.b"),
        ("scan.mha", "scan"),
        ("x.tiff", "x"),
        ("series.zip", "series"),
        ("folder.with.dots", "folder.with.dots"),
        ("notes.txt", "notes.txt"),
        ("ct.gz", "ct.gz"),
    ],
)
def test_strip_ending(name, bare):
    assert strip_ending(name) == bare


@pytest.mark.parametrize(
    ("name", "known"), [("a.nii", True), ("a.Nrrd", True), ("._a.nii", False), ("a.txt", False), ("a", False)]
)
def test_files_are_known_by_their_ending(tmp_path, name, known):
    assert is_image(tmp_path / name) is known


def test_a_folder_is_an_image_if_it_holds_slices(tmp_path, voxels, oblique, dicom_series):
    assert not is_image(tmp_path)
    assert is_image(dicom_series(tmp_path / "series.nii", voxels, oblique))
    assert not is_image(tmp_path)
