"""What is written lies where the input lies: read again with nibabel and with SimpleITK."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from omniform.errors import ConfigError, DataError
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.reading import read_image, read_label
from omniform_medical.writing import write_label, write_scalar

SECRET = b"ZAPHOD"
RNG = np.random.default_rng(1)


def in_world(array, affine):
    """Return voxels by where they lie, to a hundredth of a millimetre."""
    index = np.argwhere(np.ones(array.shape, bool))
    places = np.round((index @ affine[:3, :3].T + affine[:3, 3]) * 100).astype(int)
    return {tuple(place): array[tuple(i)] for place, i in zip(places.tolist(), index, strict=True)}


def itk_affine(image):
    """Return the affine in RAS+, by ITK's own transformation of four voxels."""
    columns = [image.TransformIndexToPhysicalPoint(place) for place in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))]
    x, y, z, origin = (np.array(column) * (-1, -1, 1) for column in columns)
    return np.block([[np.stack([x - origin, y - origin, z - origin, origin], axis=1)], [np.array([[0, 0, 0, 1.0]])]])


def nifti(path, array, affine, kind=nibabel.Nifti1Image, sform=2, qform=1, other=None, order="<"):
    """Write a NIfTI file with nibabel whose header names a person wherever it can."""
    image = kind(array, affine, kind.header_class(endianness=order))
    image.set_qform(affine if other is None else other, code=qform)
    image.set_sform(affine, code=sform)
    for field in ("descrip", "aux_file", "intent_name", *(("db_name",) if kind is nibabel.Nifti1Image else ())):
        image.header[field] = SECRET
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_labels_lie_where_the_image_lies(tmp_path, affine, voxels, ending):
    like = read_image(nifti(tmp_path / "in.nii.gz", voxels, affine))
    path = tmp_path / f"out{ending}"
    write_label(voxels, like, path)
    expected = in_world(voxels, affine)

    by_itk = sitk.ReadImage(str(path))
    assert in_world(sitk.GetArrayFromImage(by_itk).T, itk_affine(by_itk)) == expected
    if ending.startswith(".nii"):
        by_nibabel = nibabel.load(path)
        assert in_world(np.asanyarray(by_nibabel.dataobj), by_nibabel.affine) == expected
    again = read_label(path)
    assert in_world(again.array, again.geometry.affine) == expected
    assert like.geometry.differs(again.geometry) is None


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("sform", "qform"), [(2, 1), (4, 0), (0, 1), (0, 0), (1, 3)])
def test_the_affine_is_the_same_to_the_bit(tmp_path, voxels, oblique, kind, order, sform, qform):
    other = np.diag([2.0, 3.0, 4.0, 1.0]) if sform and qform else None
    nifti(tmp_path / "in.nii", voxels, oblique, kind, sform, qform, other, order)
    write_label(voxels, read_image(tmp_path / "in.nii"), tmp_path / "out.nii.gz")
    before, after = nibabel.load(tmp_path / "in.nii"), nibabel.load(tmp_path / "out.nii.gz")
    assert type(before) is type(after)
    assert before.affine.tobytes() == after.affine.tobytes()
    for form in ("get_sform", "get_qform"):
        (old, old_code), (new, new_code) = (getattr(image, form)(coded=True) for image in (before, after))
        assert old_code == new_code
        assert (old is None and new is None) or old.tobytes() == new.tobytes()
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), voxels)


def test_units_of_length_are_kept(tmp_path, voxels):
    image = nibabel.Nifti1Image(voxels, np.diag([1e-3, 1e-3, 2e-3, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "in.nii")
    like = read_image(tmp_path / "in.nii")
    np.testing.assert_allclose(like.geometry.spacing, (1, 1, 2), rtol=1e-6)
    write_label(voxels, like, tmp_path / "out.nii")
    assert read_label(tmp_path / "out.nii").geometry.affine.tobytes() == like.geometry.affine.tobytes()
    assert sitk.ReadImage(str(tmp_path / "out.nii")).GetSpacing() == pytest.approx((1, 1, 2), rel=1e-6)


def test_nothing_that_a_header_says_of_people_is_carried(tmp_path, voxels, oblique):
    path = nifti(tmp_path / "in.nii", voxels, oblique)
    image = nibabel.load(path)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET))
    nibabel.save(image, path)
    assert SECRET in path.read_bytes()
    write_label(voxels, read_image(path), tmp_path / "out.nii")
    assert SECRET not in (tmp_path / "out.nii").read_bytes()


def test_shear_survives_where_a_format_holds_it(tmp_path, voxels):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    for name in ("a.nii", "a.mha", "a.nrrd"):
        write_label(voxels, Image(voxels, Geometry(voxels.shape, affine), tmp_path / "x"), tmp_path / name)
        np.testing.assert_allclose(read_label(tmp_path / name).geometry.affine, affine, atol=1e-6)


def test_a_dicom_series_gives_a_nifti_file_on_its_grid(tmp_path, voxels, oblique, dicom_series, planted):
    like = read_image(dicom_series(tmp_path / "series", voxels, oblique))
    write_label(like.array.astype(np.int64), like, tmp_path / "out.nii")
    after = nibabel.load(tmp_path / "out.nii")
    assert in_world(np.asanyarray(after.dataobj), after.affine) == in_world(voxels, oblique)
    assert not any(text.encode() in (tmp_path / "out.nii").read_bytes() for text in planted)


def test_an_axis_too_long_for_nifti_1_makes_nifti_2(tmp_path):
    array = np.ones((40_000, 1, 1), np.uint8)
    write_label(array, Image(array, Geometry(array.shape, np.eye(4)), tmp_path / "x"), tmp_path / "a.nii.gz")
    assert isinstance(nibabel.load(tmp_path / "a.nii.gz"), nibabel.Nifti2Image)
    assert read_label(tmp_path / "a.nii.gz").geometry.shape == array.shape


@pytest.mark.parametrize(("top", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_labels_take_as_few_bytes_as_they_need(tmp_path, top, dtype):
    array = np.array([0, top]).reshape(2, 1, 1)
    like = Image(array, Geometry((2, 1, 1), np.eye(4)), tmp_path / "x")
    for name in ("a.nii", "a.mha", "a.nrrd", "a.nii.gz"):
        write_label(array, like, tmp_path / name)
        assert read_label(tmp_path / name).array.dtype == dtype
        np.testing.assert_array_equal(read_label(tmp_path / name).array, array)


@pytest.mark.parametrize("low", [-1, 65536])
def test_labels_of_no_unsigned_16_bits_are_refused(tmp_path, low):
    array = np.full((2, 2, 2), low)
    with pytest.raises(DataError, match=r"expected labels from 0 to 65535"):
        write_label(array, Image(array, Geometry((2, 2, 2), np.eye(4)), tmp_path), tmp_path / "a.nii")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_maps_are_written_as_they_are(tmp_path, dtype, ending, oblique):
    array = (RNG.random((4, 3, 2)) * 200).astype(dtype)
    write_scalar(array, Image(array, Geometry((4, 3, 2), oblique), tmp_path / "x"), tmp_path / f"a{ending}")
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{ending}"))).T
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_the_same_voxels_give_the_same_bytes(tmp_path, voxels, oblique, ending):
    like = Image(voxels, Geometry(voxels.shape, oblique), tmp_path / "x")
    write_label(voxels, like, tmp_path / f"a{ending}")
    write_label(np.asfortranarray(voxels), like, tmp_path / f"b{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    if ending == ".nii.gz":
        assert (tmp_path / "a.nii.gz").read_bytes()[3:8] == bytes(5)  # gzip: no name, no time


def test_a_plane_of_pixels_goes_to_png_and_back(tmp_path):
    array = RNG.integers(0, 4, (9, 7, 1))
    sitk.WriteImage(sitk.GetImageFromArray(array[..., 0].T.astype(np.uint8)), str(tmp_path / "in.png"))
    like = read_image(tmp_path / "in.png")
    write_label(array, like, tmp_path / "out.png")
    assert sitk.ReadImage(str(tmp_path / "out.png")).GetSize() == (9, 7)
    np.testing.assert_array_equal(read_label(tmp_path / "out.png").array, array)
    with pytest.raises(ConfigError, match="this is more"):
        write_scalar(array.astype(np.float32), like, tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize("name", ["out.dcm", "out", "out.mhd", "out.txt", "out.gz"])
def test_other_endings_are_refused_before_anything_is_written(tmp_path, voxels, name):
    like = Image(voxels, Geometry(voxels.shape, np.eye(4)), tmp_path / "x")
    with pytest.raises(ConfigError, match=r"expected an output that ends in \.nii\.gz, \.nii, \.nrrd, \.mha, \.png"):
        write_label(voxels, like, tmp_path / name)
    with pytest.raises(ConfigError, match="this is more"):
        write_label(voxels, like, tmp_path / "volume.png")
    assert not list(tmp_path.iterdir())


def test_a_file_is_whole_or_as_it_was(tmp_path, voxels, monkeypatch):
    like = Image(voxels, Geometry(voxels.shape, np.eye(4)), tmp_path / "x")
    path = tmp_path / "out.nii.gz"
    path.write_bytes(b"before")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("omniform_medical.writing._write_voxels", fail)
    with pytest.raises(OSError, match="disk full"):
        write_label(voxels, like, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_another_grid_is_a_fault_of_the_caller(tmp_path, voxels):
    with pytest.raises(ValueError, match="expected an array"):
        write_label(voxels[:-1], Image(voxels, Geometry(voxels.shape, np.eye(4)), tmp_path), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="float32 or uint8"):
        write_scalar(voxels, Image(voxels, Geometry(voxels.shape, np.eye(4)), tmp_path), tmp_path / "a.nii")
