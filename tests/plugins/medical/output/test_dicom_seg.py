"""DICOM segmentations, read again by highdicom and pydicom, and patients who are named in them alone."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest

from omniform.errors import DataError
from omniform_medical.image import Image
from omniform_medical.output import Wanted, write_dicom_seg
from omniform_medical.reading import read_image
from omniform_medical.segmentation import Segmentation, Segmentations

LABELS = ("background", "liver", "a tumour whose name is longer than the sixty-four characters that are allowed")


def _case(source, label=None):
    image = read_image(source)
    if label is None:
        label = np.random.default_rng(0).integers(0, 3, image.array.shape).astype(np.uint8)
        label[:, :, 1] = 0  # a slice without anything
    confidence = np.full(label.shape, 230, np.uint8)
    return Segmentation("scan", label, confidence, Image(image.array, image.geometry, source))


def _found(path, geometry):
    """Return what a segmentation says on a grid; where its voxels lie comes from the object alone."""
    from highdicom.seg import segread

    volume = segread(path).get_volume(combine_segments=True)
    to_index = np.linalg.inv(geometry.affine) @ np.diag([-1.0, -1, 1, 1]) @ volume.affine
    places = np.argwhere(volume.array)
    indices = places @ to_index[:3, :3].T + to_index[:3, 3]
    np.testing.assert_allclose(indices, np.rint(indices), atol=1e-3)
    found = np.zeros(geometry.shape, np.uint8)
    found[tuple(np.rint(indices).astype(int).T)] = volume.array[tuple(places.T)]
    return found


def test_frames_are_the_slices_of_the_source(affine, voxels, dicom_series, tmp_path):
    case = _case(dicom_series(tmp_path / "series", voxels, affine))
    write_dicom_seg(case, LABELS, tmp_path / "out.dcm")
    np.testing.assert_array_equal(_found(tmp_path / "out.dcm", case.like.geometry), case.label)


def test_frames_of_an_enhanced_file_in_any_order(oblique, voxels, dicom_series, tmp_path):
    (tmp_path / "series").mkdir()
    _join_frames(dicom_series(tmp_path / "slices", voxels, oblique), tmp_path / "series" / "frames.dcm")
    case = _case(tmp_path / "series" / "frames.dcm")
    write_dicom_seg(case, LABELS, tmp_path / "out.dcm")
    np.testing.assert_array_equal(_found(tmp_path / "out.dcm", case.like.geometry), case.label)


def test_a_scan_of_pydicoms_own(tmp_path):
    from pydicom.data import get_testdata_file

    source = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    label = np.zeros((128, 128, 1), np.uint8)
    label[30:60, 40:90, 0], label[70:80, 10:20, 0] = 1, 2
    case = _case(source, label)
    write_dicom_seg(case, LABELS, tmp_path / "out.dcm")
    np.testing.assert_array_equal(_found(tmp_path / "out.dcm", case.like.geometry), label)


def test_frames_point_at_the_instances_under_them(oblique, voxels, dicom_series, tmp_path):
    from highdicom.seg import segread
    from pydicom import dcmread

    source = dicom_series(tmp_path / "series", voxels, oblique)
    case = _case(source)
    write_dicom_seg(case, LABELS, tmp_path / "out.dcm")
    told = segread(tmp_path / "out.dcm")
    image = case.like.array
    for path in source.iterdir():
        dataset = dcmread(path)
        (index,) = (z for z in range(5) if np.array_equal(image[..., z].T, dataset.pixel_array))
        frame = told.get_pixels_by_source_instance(
            [dataset.SOPInstanceUID], combine_segments=True, ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )  # fmt: skip
        np.testing.assert_array_equal(frame[0], case.label[..., index].T)


def test_it_says_what_made_it(oblique, voxels, dicom_series, tmp_path):
    from pydicom import dcmread

    import omniform

    write_dicom_seg(_case(dicom_series(tmp_path / "series", voxels, oblique)), LABELS, tmp_path / "out.dcm")
    told = dcmread(tmp_path / "out.dcm")
    assert (told.Modality, told.SegmentationType) == ("SEG", "BINARY")
    for number, (segment, label) in enumerate(zip(told.SegmentSequence, LABELS[1:], strict=True), start=1):
        assert (segment.SegmentNumber, segment.SegmentLabel) == (number, label[:64])
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("omniform", omniform.__version__)
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "85756007"


def test_nothing_found_is_a_segmentation_too(oblique, voxels, dicom_series, tmp_path):
    from highdicom.seg import segread

    source = dicom_series(tmp_path / "series", voxels, oblique)
    write_dicom_seg(_case(source, np.zeros(voxels.shape, np.uint8)), LABELS, tmp_path / "out.dcm")
    told = segread(tmp_path / "out.dcm")
    assert told.number_of_segments == 2
    assert not told.pixel_array.any()


def test_another_source_is_refused(oblique, voxels, dicom_series, tmp_path):
    case = _case(dicom_series(tmp_path / "series", voxels, oblique))
    moved = oblique.copy()
    moved[:3, 3] += 0.4
    dicom_series(tmp_path / "series", voxels, moved)
    with pytest.raises(DataError, match="off the grid"):
        write_dicom_seg(case, LABELS, tmp_path / "out.dcm")
    assert [file.name for file in tmp_path.iterdir()] == ["series"]


def test_what_the_object_needs_and_the_source_lacks_is_refused(oblique, voxels, dicom_series, tmp_path, planted):
    def lack(dataset, number):
        del dataset.StudyInstanceUID

    case = _case(dicom_series(tmp_path / "series", voxels, oblique, lack))
    with pytest.raises(DataError, match=r"lacks what a DICOM segmentation repeats of it; write \.nii\.gz") as caught:
        write_dicom_seg(case, LABELS, tmp_path / "out.dcm")
    assert not any(text in str(caught.value) for text in planted)


def test_the_patient_is_named_in_the_object_and_nowhere_else(
    oblique, voxels, dicom_series, tmp_path, planted, capfd, caplog
):
    caplog.set_level(logging.DEBUG)
    source = dicom_series(tmp_path / "series", voxels, oblique)
    predictions = Segmentations([_case(source)], LABELS, (0, 1, 2))
    out = tmp_path / "out"
    for ending, volumes in ((".dcm", "volumes.json"), (".nii.gz", "volumes.csv"), (".nrrd", "volumes.csv")):
        wanted = Wanted(out=out, ending=ending, confidence=True, volumes=out / volumes, overlay=out / "pictures")
        wanted.write(predictions)
    told = {file.name: _content(file) for file in out.rglob("*") if file.is_file()}
    assert set(told) == {
        "scan.dcm", "scan.nii.gz", "scan.nrrd", "scan_confidence.nii.gz", "scan_confidence.nrrd", "volumes.json",
        "volumes.csv", "scan.png",
    }  # fmt: skip
    assert b"MRN-7741-XQ" in told.pop("scan.dcm")  # as the standard demands
    told["stdout, stderr"] = "".join(capfd.readouterr()).encode()
    told["log"] = caplog.text.encode()
    for name, content in told.items():
        assert not any(text.encode() in content for text in planted), name


def _join_frames(folder, path):
    """Write the slices of a folder as one enhanced object, in an order of their own."""
    from pydicom import Dataset, Sequence, dcmread
    from pydicom.uid import EnhancedCTImageStorage

    slices = [dcmread(file) for file in sorted(folder.iterdir())]
    order = np.random.default_rng(0).permutation(len(slices))
    whole, frames, shared = slices[0], [], Dataset()
    whole.PixelData = b"".join(slices[number].PixelData for number in order)
    for number in order:
        frames.append(Dataset())
        _add_macro(frames[-1], slices[number], "PlanePositionSequence", "ImagePositionPatient")
    _add_macro(shared, whole, "PlaneOrientationSequence", "ImageOrientationPatient")
    _add_macro(shared, whole, "PixelMeasuresSequence", "PixelSpacing", "SliceThickness")
    whole.PerFrameFunctionalGroupsSequence, whole.NumberOfFrames = Sequence(frames), len(frames)
    whole.SharedFunctionalGroupsSequence = Sequence([shared])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del whole[keyword]
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    whole.save_as(path, enforce_file_format=True)


def _add_macro(group, source, name, *keywords):
    from pydicom import Dataset, Sequence

    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, source[keyword].value)
    setattr(group, name, Sequence([item]))


def _content(file):
    import gzip

    content = file.read_bytes()
    return gzip.GzipFile(fileobj=io.BytesIO(content)).read() if file.suffix == ".gz" else content
