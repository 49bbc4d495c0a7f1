"""NIfTI files: as nibabel reads them, or refused in one line before they take memory."""

import gzip
import tracemalloc
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nibabel.testing import data_path

from omniform.errors import DataError, OmniformError
from omniform_medical.reading import read_image, read_label

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
BASE = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(4, 3, 2), np.diag([2.0, 2, 3, 1]))
BASE2 = nibabel.Nifti2Image(np.arange(24, dtype=np.int16).reshape(4, 3, 2), np.diag([2.0, 2, 3, 1]))


def outcome(path):
    """Return the image, or the line that it was refused with."""
    try:
        return read_image(path)
    except OmniformError as error:
        return str(error)


def changed(base=BASE, **fields):
    """Return the bytes of the base with header fields set to what nibabel would not write."""
    header = base.header.copy()
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    for field, value in fields.items():
        if field == "dim":
            header["dim"] = 1
            header["dim"][: len(value)] = value
        elif field == "pixdim":
            header["pixdim"][1:4] = value
        else:
            header[field] = value
    return header.binaryblock + bytes(4) + np.asanyarray(base.dataobj).tobytes(order="F")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_numbers_of_every_type_are_read_as_nibabel_does(tmp_path, dtype, order, kind, oblique):
    array = (np.arange(60).reshape(5, 4, 3) * 2 + 1).astype(dtype)
    path = tmp_path / "a.nii.gz"
    nibabel.save(kind(array, oblique, kind.header_class(endianness=order), dtype=array.dtype), path)
    expected, image, label = nibabel.load(path), read_image(path), read_label(path)
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array, expected.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(image.geometry.affine, expected.affine)
    np.testing.assert_array_equal(label.array, array)
    assert label.array.dtype.isnative
    assert label.array.dtype.kind in "iu"


@pytest.mark.parametrize(("slope", "intercept"), [(0.1, 0.0), (2.5, -1024.0), (-1.0, 3.0)])
def test_slopes_are_honoured(tmp_path, slope, intercept):
    path = tmp_path / "a.nii"
    path.write_bytes(changed(scl_slope=slope, scl_inter=intercept))
    np.testing.assert_allclose(read_image(path).array, nibabel.load(path).get_fdata(), rtol=1e-6, atol=1e-5)


def test_labels_may_be_scaled_to_whole_numbers(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(changed(scl_slope=0.5, scl_inter=1))
    with pytest.raises(DataError, match=r"expected labels, which are whole numbers, got 1\.5; is it the image\?"):
        read_label(path)
    path.write_bytes(changed(scl_slope=np.float32(2), scl_inter=1))
    np.testing.assert_array_equal(read_label(path).array, np.arange(24).reshape(4, 3, 2) * 2 + 1)


@pytest.mark.parametrize(
    ("shape", "expected"), [((4, 3), (4, 3, 1)), ((4, 3, 2, 1), (4, 3, 2)), ((4, 1, 1), (4, 1, 1))]
)
def test_planes_and_single_time_points_become_volumes(tmp_path, shape, expected):
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), np.diag([2.0, 3, 1, 1])), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").geometry.shape == expected


@pytest.mark.parametrize("name", sorted(path.name for path in data_path.glob("*.nii*")))
def test_files_of_nibabel_are_read_or_refused(name):
    path = data_path / name
    expected = nibabel.load(path)
    volume = expected.ndim == 3 and np.isfinite(expected.get_fdata()).all()
    image = outcome(path)
    if isinstance(image, str):
        assert not volume
        assert "axes" in image or "NaN" in image
        return
    np.testing.assert_array_equal(image.array, expected.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(image.geometry.affine, expected.affine)


def test_missing_forms_are_filled_as_nibabel_does(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(changed(sform_code=0, qform_code=0))
    np.testing.assert_array_equal(read_image(path).geometry.affine, nibabel.load(path).affine)


REFUSED = {
    "no voxels": ({"dim": [3, 0, 3, 2]}, "announces 0 x 3 x 2 voxels"),
    "a negative axis": ({"dim": [3, 4, -3, 2]}, "announces 4 x -3 x 2 voxels"),
    "no axes": ({"dim": [0, 4, 3, 2]}, "announces 0 axes"),
    "nine axes": ({"dim": [9, 4, 3, 2]}, "announces 9 axes"),
    "one axis": ({"dim": [1, 24]}, "has one axis"),
    "time": ({"dim": [4, 2, 3, 2, 2]}, r"has 4 axes \(2 x 3 x 2 x 2\), expected a volume of 3; write each time point"),
    "a vector": ({"dim": [5, 2, 2, 2, 1, 3]}, "has 5 axes"),
    "2^31 voxels": ({"dim": [3, 2048, 2048, 512]}, r"2048 x 2048 x 512 voxels, expected fewer than 2\^31"),
    "more voxels than bytes": ({"dim": [3, 400, 400, 400]}, "too short for the 400 x 400 x 400 voxels"),
    "a voxel more than bytes": ({"dim": [3, 25, 1, 1]}, "too short"),
    "complex numbers": ({"datatype": 32}, "complex numbers, expected real numbers"),
    "colours": ({"datatype": 128}, "RGB colours, expected real numbers; write each channel"),
    "an unknown type": ({"datatype": 77}, r"numbers of an unknown type \(77\)"),
    "no spacing": ({"pixdim": [0, 2, 3], "sform_code": 0, "qform_code": 1}, "spacing of 0 x 2 x 3 mm"),
    "NaN spacing": ({"pixdim": [2, np.nan, 3], "sform_code": 0}, "spacing of 2 x nan x 3 mm"),
    "infinite spacing": ({"pixdim": [2, np.inf, 3], "sform_code": 0, "qform_code": 1}, "spacing of 2 x inf x 3 mm"),
    "an endless spacing": ({"pixdim": [2, 1e30, 3], "sform_code": 0, "qform_code": 1}, "spacing of 2 x 1e.30 x 3 mm"),
    "a flat affine": ({"srow_x": [2, 0, 0, 0], "srow_y": [2, 0, 0, 0]}, "spacing of 2.83 x 0 x 3 mm"),
    "an affine of one plane": ({"srow_x": [2, 1, 0, 0], "srow_y": [4, 2, 0, 0]}, "cannot be inverted"),
    "a NaN affine": ({"srow_z": [0, 0, np.nan, 0]}, "not finite"),
    "a far origin": ({"srow_z": [0, 0, 3, 1e20]}, "over 1000 km away"),
    "a broken quaternion": ({"sform_code": 0, "qform_code": 1, "quatern_b": 5}, "not consistent"),
    "an unknown unit": ({"xyzt_units": 7}, "no known unit of length"),
    "voxels in the header": ({"vox_offset": 0}, "first voxel at byte 0, expected 35|54"),
    "voxels far away": ({"vox_offset": 1e9}, "first voxel at byte 1e.09"),
    "a NaN offset": ({"vox_offset": np.nan}, "first voxel at byte nan"),
    "half a pair": ({"magic": b"ni1"}, "half of a NIfTI pair"),
    "no mark": ({"magic": b"abc"}, "lacks the mark"),
    "an infinite intercept": ({"scl_slope": 2, "scl_inter": np.inf}, "not finite"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_absurd_headers_are_refused_before_they_take_memory(tmp_path, what):
    fields, line = REFUSED[what]
    path = tmp_path / "case.nii"
    path.write_bytes(changed(**fields))
    tracemalloc.start()
    with pytest.raises(DataError, match=line) as caught:
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert peak < 2**20


def test_nan_and_infinity_are_counted(tmp_path):
    array = np.ones((4, 3, 2), np.float64)
    array[0, 0], array[1, 1, 1], array[2, 2, 0] = np.nan, np.inf, 1e300
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a\.nii: of its 24 voxels 2 are NaN and 2 infinite; replace"):
        read_image(tmp_path / "a.nii")
    with pytest.raises(DataError, match="whole numbers, got nan"):
        read_label(tmp_path / "a.nii")


def test_one_value_everywhere_is_read(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert not read_image(tmp_path / "a.nii").array.any()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_file_cut_anywhere_is_refused(tmp_path, pack):
    whole = pack(changed())
    path = tmp_path / "a.nii.gz"
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|empty|no NIfTI"):
            read_image(path)


def test_a_wrong_checksum_is_noticed(tmp_path):
    whole = bytearray(gzip.compress(changed()))
    whole[-6] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(whole)
    with pytest.raises(DataError, match="truncated or corrupt"):
        read_image(tmp_path / "a.nii.gz")


def test_nothing_is_unpacked_beyond_what_the_header_announces(tmp_path, monkeypatch):
    """64 MiB of zeros behind 48 bytes of voxels: no more than a buffer of them is unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(2**20)
    data = packer.compress(changed()) + b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    (tmp_path / "bomb.nii.gz").write_bytes(data)
    unpacked = 0
    read = gzip._GzipReader.read

    def counted(self, size=-1):
        nonlocal unpacked
        part = read(self, size)
        unpacked += len(part)
        return part

    monkeypatch.setattr(gzip._GzipReader, "read", counted)
    np.testing.assert_array_equal(
        read_image(tmp_path / "bomb.nii.gz").array.ravel(order="F"), BASE.dataobj[:].ravel("F")
    )
    assert 0 < unpacked < 2**20


def test_a_volume_takes_its_own_bytes_and_those_of_float32(tmp_path):
    array = np.random.default_rng(4).integers(0, 1000, (80, 70, 60)).astype(np.int16)
    image = nibabel.Nifti1Image(array, np.eye(4))
    for name, slope in (("plain.nii", 1), ("scaled.nii.gz", 0.5)):
        image.header.set_slope_inter(slope, 0)
        nibabel.save(image, tmp_path / name)
        tracemalloc.start()
        read_image(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < array.size * (2 + 4 + 2) + 2**20


def test_a_header_may_not_announce_more_than_deflate_can_hold(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(changed(dim=[3, 1000, 1000, 1000])))
    with pytest.raises(DataError, match="too short for the 1000 x 1000 x 1000 voxels"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_is_known_as_packed_by_its_bytes(tmp_path, name):
    for data in (changed(), gzip.compress(changed())):
        (tmp_path / name).write_bytes(data)
        assert read_image(tmp_path / name).array.max() == 23


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    base=st.sampled_from([BASE, BASE2]),
    swap=st.booleans(),
    places=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 700),
    pack=st.booleans(),
)
@example(base=BASE, swap=True, places=[], cut=0, pack=True)
@example(base=BASE2, swap=False, places=[(16, 255), (23, 127)], cut=0, pack=False)
def test_any_bytes_of_a_header_are_read_or_refused(tmp_path_factory, base, swap, places, cut, pack):
    """Of a file of n bytes no more than 1032 n are taken for voxels, and 4 times that for them as float32."""
    image = type(base)(np.asanyarray(base.dataobj), base.affine, base.header.as_byteswapped(">" if swap else "<"))
    data = bytearray(changed(image))
    for place, byte in places:
        data[place % len(data)] = byte
    data = data[: len(data) - cut] if cut < len(data) else data
    path = Path(tmp_path_factory.getbasetemp()) / "fuzzed.nii"
    path.write_bytes(gzip.compress(data) if pack else data)
    tracemalloc.start()
    image = outcome(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 + 10 * 1032 * len(data)
    if isinstance(image, str):
        assert "\n" not in image
        assert str(path) in image
    else:
        assert np.isfinite(image.array).all()
        assert np.isfinite(image.geometry.corners()).all()
        assert min(image.geometry.spacing) > 0
