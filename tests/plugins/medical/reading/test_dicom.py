"""DICOM series beside SimpleITK's reader, and series that are no volume."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from omniform.errors import DataError, OmniformError
from omniform_medical.geometry import Geometry
from omniform_medical.reading import read_dicom_datasets, read_image, read_label

RIGHT_HANDED = ["identity", "anisotropic", "flipped", "rotated", "oblique"]


@pytest.fixture
def series(tmp_path, voxels, oblique, dicom_series):
    """Return `write(change)`, which writes a series that `change(dataset, number)` has changed."""
    return lambda change=None, **options: dicom_series(tmp_path / "series", voxels, oblique, change, **options)


def refused(folder, line):
    with pytest.raises(DataError, match=line) as caught:
        read_image(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        read_dicom_datasets(folder)


@pytest.mark.parametrize("affine", RIGHT_HANDED, indirect=True)
def test_a_series_lies_where_its_tags_say(tmp_path, affine, voxels, dicom_series):
    folder = dicom_series(tmp_path / "series", voxels, affine)
    image = read_image(folder)
    np.testing.assert_array_equal(image.array, voxels)
    np.testing.assert_allclose(image.geometry.affine, affine, atol=1e-6)
    assert image.array.dtype == np.float32
    assert image.header is None

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    peer = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(peer).T, image.array)
    direction = np.reshape(peer.GetDirection(), (3, 3))
    assert (
        Geometry.from_lps(voxels.shape, peer.GetOrigin(), peer.GetSpacing(), direction).differs(image.geometry) is None
    )


def test_slices_that_were_written_downwards_are_sorted_up(tmp_path, voxels, oblique, dicom_series):
    downwards = oblique.copy()
    downwards[:3, 2] *= -1
    image = read_image(dicom_series(tmp_path / "series", voxels, downwards))
    np.testing.assert_array_equal(image.array, voxels[..., ::-1])
    np.testing.assert_allclose(image.geometry.affine @ (0, 0, 4, 1), downwards @ (0, 0, 0, 1), atol=1e-6)


def test_slices_are_rescaled_each_by_its_own_tags(series, voxels):
    def rescale(dataset, number):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + number, -1024

    slopes = 1 + np.arange(voxels.shape[2])
    np.testing.assert_allclose(read_image(series(rescale)).array, voxels * slopes - 1024.0)


def test_datasets_come_in_the_order_of_the_slices(series, voxels):
    datasets = read_dicom_datasets(series())
    assert [dataset.InstanceNumber for dataset in datasets] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(np.stack([d.pixel_array.T for d in datasets], axis=-1), voxels)


def test_labels_may_be_a_series(series, voxels):
    np.testing.assert_array_equal(read_label(series()).array, voxels)


def test_one_slice_is_a_plane_as_thick_as_it_says(tmp_path, voxels, oblique, dicom_series):
    folder = dicom_series(tmp_path / "series", voxels[..., :1], oblique, modality="MR")
    for path in (folder, next(folder.iterdir())):
        image = read_image(path)
        np.testing.assert_allclose(image.geometry.affine, oblique, atol=1e-6)
        np.testing.assert_array_equal(image.array, voxels[..., :1])


def test_a_radiograph_without_a_place_is_a_plane(tmp_path, voxels, oblique, dicom_series):
    def forget(dataset, _):
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.SliceThickness
        dataset.ImagerPixelSpacing = [0.2, 0.1]
        del dataset.PixelSpacing

    image = read_image(dicom_series(tmp_path / "x", voxels[..., :1], oblique, forget))
    np.testing.assert_allclose(image.geometry.affine, np.diag([-0.1, -0.2, 1, 1]))


def test_a_tilted_gantry_is_a_shear(series, oblique):
    def tilt(dataset, number):
        shifted = np.array(dataset.ImagePositionPatient) + 0.4 * number * np.array(dataset.ImageOrientationPatient[3:])
        dataset.ImagePositionPatient = [f"{value:.9g}" for value in shifted]

    expected = oblique.copy()
    expected[:3, 2] += 0.4 * oblique[:3, 1] / np.linalg.norm(oblique[:3, 1])
    np.testing.assert_allclose(read_image(series(tilt)).geometry.affine, expected, atol=1e-6)


def test_files_beside_the_slices_are_left_out(series, voxels):
    folder = series()
    for name in ("notes.txt", ".DS_Store", "table.CSV"):
        (folder / name).write_bytes(b"not a slice")
    report = pydicom.dcmread(next(folder.glob("*.dcm")))
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.SeriesInstanceUID = "1.2.3"
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(report, tag)
    (folder / "nested").mkdir()
    report.save_as(folder / "nested" / "report.dcm")
    np.testing.assert_array_equal(read_image(folder).array, voxels)
    assert len(read_dicom_datasets(folder)) == 5


def outcome(path):
    """Return the image, or the line that it was refused with."""
    try:
        return read_image(path)
    except OmniformError as error:
        return str(error)


def drop(number):
    return lambda _, n: n != number


def assign(number, **tags):
    def change(dataset, n):
        if n == number:
            for keyword, value in tags.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, value)

    return change


def shifted(number, by, axis=2):
    def change(dataset, n):
        if n == number:
            r, c = np.reshape(np.array(dataset.ImageOrientationPatient, float), (2, 3))
            way = (r, c, np.cross(r, c))[axis]
            dataset.ImagePositionPatient = [f"{v:.9g}" for v in np.array(dataset.ImagePositionPatient) + by * way]

    return change


def other_series(dataset, number):
    dataset.SeriesInstanceUID, dataset.SeriesNumber = f"1.2.{number % 3}", number % 3


BROKEN = {
    "a missing slice": (drop(2), r"slices are missing: 5\.00 mm instead of 2\.50 mm lie between"),
    "an uneven slice": (shifted(2, 0.5), r"not evenly spaced: [23]\.00 mm instead of 2\.\d+ mm"),
    "a slice twice": (shifted(2, -2.5), r"has 1 slices in the place of another, the first at -?\d+\.\d\d mm"),
    "a slice aside": (shifted(2, 3.0, axis=0), r"lies 3\.00 mm off the line of the others"),
    "several series": (other_series, r"holds 3 series \(numbers 0, 1, 2\), expected one; give a folder for each"),
    "no position": (assign(1, ImagePositionPatient=None), "lacks ImagePositionPatient"),
    "no direction": (assign(1, ImageOrientationPatient=None), "lacks ImageOrientationPatient"),
    "no spacing": (assign(1, PixelSpacing=None), "lacks PixelSpacing"),
    "an empty position": (assign(1, ImagePositionPatient=[]), "lacks ImagePositionPatient"),
    "two numbers": (assign(1, ImagePositionPatient=[1, 2]), "does not hold 3 numbers in ImagePositionPatient"),
    "another direction": (assign(1, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "has another direction"),
    "a crooked direction": (assign(1, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "perpendicular unit vectors"),
    "no length": (assign(1, ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), "perpendicular unit vectors"),
    "another spacing": (assign(1, PixelSpacing=[1, 1]), "has another PixelSpacing"),
    "another size": (assign(1, Rows=3, Columns=14), r"has 14 x 3 pixels beside 7 x 6"),
    "no rows": (assign(1, Rows=None), "is truncated, or an image without Rows"),
    "huge planes": (
        lambda dataset, _: setattr(dataset, "Rows", 65535) or setattr(dataset, "Columns", 65535),
        "65535 x",
    ),
    "colours": (assign(1, SamplesPerPixel=3), "in colours, expected grey values"),
    "a palette": (assign(1, PhotometricInterpretation="PALETTE COLOR"), "in colours"),
    "frames": (assign(1, NumberOfFrames=2), "has 2 frames, of which 0 say where they lie"),
    "zero spacing": (lambda dataset, _: setattr(dataset, "PixelSpacing", [0, 0]), "spacing of 0 x 0 x 2.5 mm"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_volume_is_refused(series, what):
    change, line = BROKEN[what]
    refused(series(change), line)


def test_files_are_counted_but_not_named(series):
    folder = series(assign(1, PixelSpacing=None))
    with pytest.raises(DataError, match=r"file [1-5] of 5 \(by name\) lacks PixelSpacing") as caught:
        read_image(folder)
    assert ".dcm" not in str(caught.value)


def test_slices_too_short_for_their_pixels_are_refused(series):
    def cut(dataset, number):
        if number == 3:
            dataset.PixelData = dataset.PixelData[:-2]

    with pytest.raises(DataError, match="truncated, corrupt or packed in a way that cannot be decoded"):
        read_image(series(cut))


@pytest.mark.parametrize("length", [0, 100, 131, 140, 300, 700])
def test_a_cut_file_is_refused(series, length):
    folder = series()
    file = sorted(folder.glob("*.dcm"))[2]
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DataError, match="file 3 of 5"):
        read_image(folder)


def test_a_folder_without_slices_is_refused(tmp_path):
    refused(tmp_path, "holds no DICOM file; give a folder with the slices of one series")
    (tmp_path / "a.nii").write_bytes(b"x")
    refused(tmp_path, "holds no DICOM file")


def test_packed_slices_are_decoded_where_a_decoder_is_there(series, voxels):
    from pydicom.uid import RLELossless

    def pack(dataset, _):
        dataset.compress(RLELossless, generate_instance_uid=False)

    np.testing.assert_array_equal(read_image(series(pack)).array, voxels)


def test_packing_without_a_decoder_is_said(series):
    def claim(dataset, _):
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
        dataset["PixelData"].VR = "OB"

    with pytest.raises(DataError, match=r"packed as High-Throughput JPEG 2000 .* needs pylibjpeg|cannot be decoded"):
        read_image(series(claim))


def enhanced(folder, array, affine, change=None):
    """Write one enhanced multi-frame file, its frames in a stranger order."""
    turned = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(turned[:3, :3], axis=0)
    order = [2, 0, 4, 1, 3]
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.SeriesInstanceUID, dataset.Modality, dataset.PatientName = "1.2.3", "CT", "Zaphod"
    measures, orientation, scale, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    orientation.ImageOrientationPatient = (turned[:3, :2] / spacing[:2]).T.ravel().tolist()
    scale.RescaleSlope, scale.RescaleIntercept = 2, -10
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number in order:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = (turned @ (0, 0, number, 1))[:3].tolist()
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = array.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = array[..., order].T.astype("<i2").tobytes()
    if change:
        change(dataset)
    dataset.save_as(folder / "frames.dcm", enforce_file_format=True)
    return folder / "frames.dcm"


def test_frames_of_an_enhanced_file_are_sorted_and_rescaled(tmp_path, voxels, oblique):
    path = enhanced(tmp_path, voxels, oblique)
    for source in (path, tmp_path):
        image = read_image(source)
        np.testing.assert_array_equal(image.array, voxels * 2.0 - 10)
        np.testing.assert_allclose(image.geometry.affine, oblique, atol=1e-6)
        assert len(read_dicom_datasets(source)) == 1


def test_broken_frames_are_refused(tmp_path, voxels, oblique):
    def fewer(dataset):
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:3]

    def nowhere(dataset):
        del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence

    refused(enhanced(tmp_path, voxels, oblique, fewer), "has 5 frames, of which 3 say where they lie")
    refused(enhanced(tmp_path, voxels, oblique, nowhere), "it, frame 2, lacks ImagePositionPatient")


WELL = ("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "693_J2KI.dcm", "MR_small_bigendian.dcm")
FILES = Path(pydicom.data.get_testdata_file("CT_small.dcm")).parent


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("*.dcm")))
def test_files_of_pydicom_are_read_or_refused(name):
    """Volumes are compared with SimpleITK where it reads them too."""
    image = outcome(FILES / name)
    if isinstance(image, str):
        assert "\n" not in image
        assert name not in WELL
        return
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(FILES / name))
    reader.SetImageIO("GDCMImageIO")
    if name == "MR_small_padded.dcm" or name == "J2K_pixelrep_mismatch.dcm":  # GDCM heeds other tags there
        return
    peer = reader.Execute()
    np.testing.assert_allclose(sitk.GetArrayFromImage(peer).T.reshape(image.geometry.shape), image.array)


def test_a_series_of_pydicom_is_read(tmp_path):
    folder = FILES / "dicomdirtests" / "98892001" / "CT5N"
    if not folder.is_dir():
        pytest.skip("pydicom came without its folders")
    shutil.copytree(folder, tmp_path / "CT5N")
    image = read_image(tmp_path / "CT5N")
    assert image.geometry.shape == (16, 16, 5)
    np.testing.assert_allclose(image.geometry.spacing, (0.488281, 0.488281, 2.5), atol=1e-5)
