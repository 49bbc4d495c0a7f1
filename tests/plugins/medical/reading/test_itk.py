"""NRRD, MHA and pictures, beside SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from omniform.errors import DataError, OmniformError
from omniform_medical.geometry import Geometry
from omniform_medical.reading import read_image, read_label

RNG = np.random.default_rng(2)


def written(path, array, affine=None, **options):
    """Write `(X, Y, Z)` or `(X, Y)` with SimpleITK alone."""
    image = sitk.GetImageFromArray(array.T, **options)
    if affine is not None:
        origin, spacing, direction = Geometry(array.shape, affine).lps()
        image.SetOrigin(origin.tolist())
        image.SetSpacing(spacing.tolist())
        image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def outcome(path):
    """Return the image, or the line that it was refused with."""
    try:
        return read_image(path)
    except OmniformError as error:
        return str(error)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_volumes_lie_where_they_were_put(tmp_path, affine, voxels, ending, dtype):
    image = read_image(written(tmp_path / f"a{ending}", voxels.astype(dtype), affine))
    np.testing.assert_array_equal(image.array, voxels)
    np.testing.assert_allclose(image.geometry.affine, affine, atol=1e-9)
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(read_label(tmp_path / f"a{ending}").array, voxels)


def test_an_nrrd_in_ras_is_the_same_as_one_in_lps(tmp_path):
    lines = ["NRRD0004", "type: short", "dimension: 3", "space: right-anterior-superior", "sizes: 2 3 4"]
    lines += ["space directions: (2,0,0) (0,3,0) (0,0,4)", "kinds: domain domain domain", "endian: little"]
    lines += ["encoding: raw", "space origin: (5,6,7)", "", ""]
    (tmp_path / "a.nrrd").write_bytes("\n".join(lines).encode() + np.arange(24, dtype="<i2").tobytes())
    image = read_image(tmp_path / "a.nrrd")
    expected = np.diag([2.0, 3, 4, 1])
    expected[:3, 3] = 5, 6, 7
    np.testing.assert_allclose(image.geometry.affine, expected)
    np.testing.assert_array_equal(image.array.ravel(order="F"), np.arange(24))


@pytest.mark.parametrize(("ending", "dtype"), [(".png", np.uint8), (".png", np.uint16), (".bmp", np.uint8)])
@pytest.mark.parametrize("upper", [False, True])
def test_pictures_are_planes_of_a_millimetre(tmp_path, ending, dtype, upper):
    array = RNG.integers(0, 256, (6, 4)).astype(dtype)
    path = written(tmp_path / f"a{ending}", array)
    path = path.rename(path.with_suffix(ending.upper())) if upper else path
    image = read_image(path)
    np.testing.assert_array_equal(image.array[..., 0], array)
    np.testing.assert_array_equal(image.geometry.affine, np.diag([-1, -1, 1, 1]))
    assert image.geometry.shape == (6, 4, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_pictures(tmp_path, dtype):
    array = RNG.integers(0, 256, (6, 4)).astype(dtype)
    np.testing.assert_array_equal(read_image(written(tmp_path / "a.tif", array)).array[..., 0], array)


def test_a_picture_of_equal_colours_is_grey(tmp_path):
    array = RNG.integers(0, 256, (4, 6)).astype(np.uint8)
    colours = sitk.GetImageFromArray(np.stack([array] * 3, axis=-1), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_label(tmp_path / "a.png").array[..., 0], array.T)


def test_a_plane_of_a_volume_format_gets_a_third_axis(tmp_path):
    image = sitk.GetImageFromArray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    image.SetSpacing((2, 3))
    image.SetOrigin((4, 5))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    geometry = read_image(tmp_path / "a.mha").geometry
    assert geometry.shape == (3, 2, 1)
    np.testing.assert_allclose(geometry.affine, [[-2, 0, 0, -4], [0, -3, 0, -5], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_a_single_time_point_is_a_volume(tmp_path, voxels):
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(voxels.T)]), str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.nrrd").array, voxels)


def test_time_points_colours_and_complex_numbers_are_refused(tmp_path, voxels):
    volume = sitk.GetImageFromArray(voxels.T)
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(tmp_path / "time.nrrd"))
    sitk.WriteImage(sitk.Compose([volume, volume]), str(tmp_path / "two.mha"))
    colours = sitk.GetImageFromArray(RNG.integers(0, 9, (4, 6, 3)).astype(np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "rgb.png"))
    sitk.WriteImage(sitk.Cast(volume, sitk.sitkComplexFloat32), str(tmp_path / "complex.nrrd"))
    sitk.WriteImage(volume, str(tmp_path / "pages.tif"))
    for name, line in {
        "time.nrrd": r"has 4 axes \(7 x 6 x 5 x 2\).* write each time point or channel to a file",
        "two.mha": "holds 2 numbers",
        "rgb.png": "is in colours, expected grey values",
        "complex.nrrd": "complex numbers|2 numbers",
        "pages.tif": "holds 5 pages",
    }.items():
        with pytest.raises(DataError, match=line) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".png", ".tif", ".bmp"])
def test_cut_files_are_refused(tmp_path, ending):
    array = RNG.integers(0, 256, (16, 12) if ending in (".png", ".tif", ".bmp") else (8, 6, 5)).astype(np.uint8)
    whole = written(tmp_path / f"a{ending}", array).read_bytes()
    for length in range(0, len(whole) - 24, 7):
        (tmp_path / f"cut{ending}").write_bytes(whole[:length])
        image = outcome(tmp_path / f"cut{ending}")
        if isinstance(image, str):
            assert "\n" not in image
        else:  # TIFF ends with remarks
            assert ending == ".tif"
            np.testing.assert_array_equal(image.array[..., 0], array)


MHA = """ObjectType = Image
NDims = {rank}
BinaryData = True
CompressedData = {packed}
TransformMatrix = {matrix}
Offset = 0 0 0
ElementSpacing = {spacing}
DimSize = {size}
ElementType = {kind}
ElementDataFile = {data}
"""
HEADER = {
    "rank": 3,
    "packed": False,
    "matrix": "1 0 0 0 1 0 0 0 1",
    "spacing": "1 1 1",
    "size": "2 3 4",
    "kind": "MET_SHORT",
    "data": "LOCAL",
}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"size": "2 3 0"}, "announces 2 x 3 x 0|cannot be read"),
        ({"size": "2000 2000 2000"}, r"fewer than 2\^31"),
        ({"size": "1000 1000 1000"}, "too short"),
        ({"size": "1000 1000 1000", "packed": True}, "too short"),
        ({"spacing": "1 0 1"}, "spacing of 1 x 0 x 1 mm|cannot be read"),
        ({"spacing": "1 nan 1"}, "spacing of 1 x 0 x 0 mm"),
        ({"matrix": "1 0 0 1 0 0 0 0 1"}, "cannot be inverted|cannot be read"),
        ({"matrix": "0 0 0 0 0 0 0 0 0"}, "spacing of 0 x 0 x 0|cannot be read|inverted"),
        ({"rank": -83}, "says no NDims from 1 to 5"),
        ({"rank": 99}, "says no NDims from 1 to 5"),
        ({"size": "2 3"}, "needs 3 numbers in DimSize"),
        ({"size": "2 3 x"}, "needs 3 numbers in DimSize"),
        ({"matrix": "1 0 0"}, "needs 9 numbers in TransformMatrix"),
        ({"kind": "floats"}, "lacks DimSize or ElementType"),
        ({"data": "/etc/passwd"}, "not beside it"),
        ({"data": "../secret.raw"}, "not beside it"),
        ({"data": "LIST"}, "not beside it"),
        ({"data": "absent.raw"}, "not beside it"),
    ],
)
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_absurd_headers_are_refused(tmp_path, fields, line, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(MHA.format(**{**HEADER, **fields}).encode() + bytes(48))
    with pytest.raises(DataError, match=line) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_an_nrrd_may_not_name_another_file(tmp_path):
    lines = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n{}: /etc/passwd\n\n"
    for field in ("data file", "datafile", "Data File"):
        (tmp_path / "a.nrrd").write_text(lines.format(field))
        with pytest.raises(DataError, match="keeps its voxels in another file"):
            read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".png"])
def test_damaged_bytes_are_read_or_refused(tmp_path, ending):
    array = RNG.integers(0, 256, (9, 8) if ending == ".png" else (5, 4, 3)).astype(np.uint8)
    whole = written(tmp_path / f"a{ending}", array).read_bytes()
    for _ in range(30):
        data = bytearray(whole)
        for place in RNG.integers(0, len(data), 3):
            data[place] = RNG.integers(0, 256)
        (tmp_path / f"b{ending}").write_bytes(data)
        image = outcome(tmp_path / f"b{ending}")
        if isinstance(image, str):
            assert "\n" not in image
        else:
            assert np.isfinite(image.array).all()
