"""One way in for every format."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from omniform.errors import DataError
from omniform_medical.reading import read_dicom_datasets, read_image, read_label


def test_every_format_gives_the_same_volume(tmp_path, affine, voxels, dicom_series):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti2Image(voxels, affine), tmp_path / "b.nii")  # "a.nii" would ITK take for "a.nii.gz"
    by_itk = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    sitk.WriteImage(by_itk, str(tmp_path / "a.mha"))
    sitk.WriteImage(by_itk, str(tmp_path / "a.nrrd"))
    paths = [tmp_path / name for name in ("a.nii.gz", "b.nii", "a.mha", "a.nrrd")]
    if np.linalg.det(affine) > 0:  # a series has no left-handed axes
        paths.append(dicom_series(tmp_path / "series", voxels, affine))
    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        assert image.path == path
        assert image.array.dtype == np.float32
        np.testing.assert_array_equal(image.array, voxels)
        assert images[0].geometry.differs(image.geometry) is None
        np.testing.assert_array_equal(read_label(path).array, voxels)


def test_a_path_may_be_text_and_its_ending_in_capitals(tmp_path, voxels):
    sitk.WriteImage(sitk.GetImageFromArray(voxels.T), str(tmp_path / "a.mha"))
    (tmp_path / "a.mha").rename(tmp_path / "A.MHA")
    np.testing.assert_array_equal(read_image(str(tmp_path / "A.MHA")).array, voxels)


def test_a_slice_needs_no_ending(tmp_path, dicom_bytes, voxels):
    (tmp_path / "IM0001").write_bytes(dicom_bytes)
    np.testing.assert_array_equal(read_image(tmp_path / "IM0001").array, voxels[..., :1])


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".png", ".tif", ".bmp", ".dcm", ".zip"])
def test_files_of_another_format_are_refused(tmp_path, ending):
    for data in (b"", b"\0", b"no image at all\n" * 100, b"\x1f\x8b" + bytes(400), bytes(2000)):
        path = tmp_path / f"a{ending}"
        path.write_bytes(data)
        for read in (read_image, read_label):
            with pytest.raises(DataError) as caught:
                read(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("absent.nii", "cannot be read: No such file or directory"),
        ("absent", "cannot be read: No such file or directory"),
        ("notes.txt", r"expected a folder of DICOM slices, or a file that ends in \.nii\.gz"),
        ("folder.nii", "holds no DICOM file"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, name, line):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(DataError, match=line):
        read_image(tmp_path / name)


def test_datasets_are_of_dicom_alone(tmp_path, voxels):
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match="holds no DICOM file"):
        read_dicom_datasets(tmp_path / "a.nii")
