"""A patient who is named in every tag that can is named in no line, warning or array that leaves the reader."""

import io
import logging
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from omniform.errors import OmniformError
from omniform_medical.reading import read_dicom_datasets, read_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of what the tests write

TAGS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PhotometricInterpretation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "RescaleSlope", "RescaleIntercept", "SeriesNumber", "SeriesInstanceUID", "SOPClassUID"),
    *("PixelData", "NumberOfFrames", "Modality", "PatientName", "PatientBirthDate", "StudyDate"),
)


@pytest.fixture
def leaks(planted, caplog):
    """Return `check(path)`, which reads a path and looks for the patient in whatever is said."""

    def check(path):
        said = []
        caplog.clear()
        with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
            warnings.simplefilter("always")
            for read in (read_image, read_dicom_datasets):
                try:
                    result = read(path)
                    said.append(repr(result) if read is read_image else "")
                except OmniformError as error:
                    line = str(error)
                    assert "\n" not in line
                    said += [line, repr(error.__cause__)]
        said += [str(warning.message) for warning in warned]
        said += [record.getMessage() for record in caplog.records]
        everything = " ".join(said).replace(str(path), "")
        assert not [text for text in planted if text in everything]
        return said

    return check


def broken(dataset, keyword, text):
    """Put text that names the patient where a number is expected, past pydicom's own checks."""
    tag = pydicom.datadict.tag_for_keyword(keyword)
    raw = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(tag), pydicom.datadict.dictionary_VR(tag), len(text), text, 0, False, True
    )
    dataset._dict[pydicom.tag.Tag(tag)] = raw


def test_a_whole_series_keeps_the_patient_to_itself(tmp_path, voxels, oblique, dicom_series, leaks, planted):
    folder = dicom_series(tmp_path / "series", voxels, oblique)
    leaks(folder)
    image = read_image(folder)
    held = repr((image.geometry, image.path, image.header)) + str(image.array.tobytes())
    assert not [text for text in planted if text in held]
    assert any(text in str(read_dicom_datasets(folder)[0]) for text in planted)


@pytest.mark.parametrize("keyword", [tag for tag in TAGS if tag != "BitsAllocated"])  # pydicom needs it to write
def test_broken_tags_are_not_quoted(tmp_path, voxels, oblique, dicom_series, leaks, keyword):
    def change(dataset, number):
        if number in (1, 2):
            if keyword == "SeriesInstanceUID":
                dataset.SeriesInstanceUID = f"1.2.826.77.2002.{number}"
            elif keyword in ("PixelData", "NumberOfFrames", "SamplesPerPixel") and number == 1:
                if keyword in dataset:
                    delattr(dataset, keyword)
            else:
                broken(dataset, keyword, b"Zaphod^Quillfeather\\MRN-7741-XQ ")

    leaks(dicom_series(tmp_path / "series", voxels, oblique, change))


def test_cut_files_quote_nobody(tmp_path, voxels, oblique, dicom_series, leaks):
    folder = dicom_series(tmp_path / "series", voxels, oblique)
    file = sorted(folder.iterdir())[1]
    whole = file.read_bytes()
    for length in range(0, len(whole), 53):
        file.write_bytes(whole[:length])
        said = leaks(folder)
        assert any("file 2 of 5" in line for line in said), said


def test_a_series_number_is_told_only_if_it_is_one(tmp_path, voxels, oblique, dicom_series, leaks):
    def change(dataset, number):
        dataset.SeriesInstanceUID = f"1.2.{number % 2}"
        broken(dataset, "SeriesNumber", b"Zaphod" if number % 2 else b"4 ")

    said = leaks(dicom_series(tmp_path / "series", voxels, oblique, change))
    assert any("holds 2 series (numbers 4, unknown)" in line for line in said)


VALUES = st.one_of(
    st.sampled_from([b"", b"0 ", b"-1", b"1e400 ", b"nan ", b"Zaphod", b"1\\2\\3 ", b"\0\0", b"\xff\xff", b"\0" * 8]),
    st.binary(max_size=12),
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(tags=[], flips=[(155, 64)], cut=0)  # a length of a gigabyte
@given(
    tags=st.lists(st.tuples(st.sampled_from(TAGS), VALUES), max_size=2),
    flips=st.lists(st.tuples(st.integers(128, 1800), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 300),
)
def test_any_tags_are_read_or_refused(tmp_path, dicom_bytes, leaks, tags, flips, cut):
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes))
    for keyword, value in tags:
        broken(dataset, keyword, value)
    buffer = io.BytesIO()
    try:
        dataset.save_as(buffer, enforce_file_format=True)
    except Exception:
        buffer = io.BytesIO(dicom_bytes)
    data = bytearray(buffer.getvalue())
    for place, byte in flips:
        data[place % len(data)] = byte
    path = Path(tmp_path) / "fuzzed.dcm"
    path.write_bytes(data[: len(data) - cut] if cut > 150 else data)
    leaks(path)
    tracemalloc.start()
    try:
        image = read_image(path)
    except OmniformError:
        return
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22
    assert np.isfinite(image.array).all()
    assert np.isfinite(image.geometry.affine).all()
