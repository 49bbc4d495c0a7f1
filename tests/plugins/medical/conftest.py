"""Small volumes that lie in space in every way, and small DICOM series that name a patient wherever tags can."""

import io
from pathlib import Path

import numpy as np
import pytest

PHI = {
    "PatientName": "Zaphod^Quillfeather",
    "PatientID": "MRN-7741-XQ",
    "PatientBirthDate": "19430217",
    "PatientAddress": "17 Vogonlane",
    "PatientComments": "Betelgeusian sailor",
    "OtherPatientNames": "Nomdeplume^Z",
    "InstitutionName": "Hospice of Damogran",
    "InstitutionAddress": "4 Krikkitroad",
    "ReferringPhysicianName": "Prosser^Lionel",
    "PerformingPhysicianName": "Halfrunt^Gag",
    "OperatorsName": "Agrajag^B",
    "AccessionNumber": "ACC99417",
    "StudyID": "ST-55512",
    "StudyDate": "19990314",
    "StudyDescription": "Skull of Zaphod",
    "SeriesDescription": "Two heads thin",
    "ProtocolName": "Protocol Eddie",
    "StationName": "HEARTOFGOLD",
    "DeviceSerialNumber": "SN-424242",
}
UIDS = {
    "StudyInstanceUID": "1.2.826.77.1001",
    "SeriesInstanceUID": "1.2.826.77.2002",
    "FrameOfReferenceUID": "1.2.826.77.3003",
    "SOPInstanceUID": "1.2.826.77.4004",
}


def _turned(degrees, spacing, origin, flip=(1, 1, 1)):
    """Rotate about all three axes."""
    a, b, c = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x @ np.diag(spacing) @ np.diag(flip)
    affine[:3, 3] = origin
    return affine


AFFINES = {
    "identity": np.eye(4),
    "anisotropic": _turned((0, 0, 0), (0.75, 0.5, 4.0), (-31.5, 12.25, 100.0)),
    "flipped": _turned((0, 0, 0), (1.5, 1.5, 2.0), (40.0, -20.0, 7.0), (-1, -1, 1)),
    "rotated": _turned((90, 0, 90), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0)),
    "oblique": _turned((17, -28, 41), (0.8, 0.9, 2.5), (-88.0, 60.5, -12.0)),
    "left-handed": _turned((10, 20, -30), (1.25, 1.0, 2.0), (3.0, -4.0, 5.0), (-1, 1, 1)),
}


@pytest.fixture(params=list(AFFINES))
def affine(request):
    """Return an affine `(4, 4)`, each in turn."""
    return AFFINES[request.param].copy()


@pytest.fixture
def oblique():
    return AFFINES["oblique"].copy()


@pytest.fixture
def voxels():
    """Return whole numbers `(7, 6, 5)` that tell every voxel from the others."""
    return np.random.default_rng(0).permutation(7 * 6 * 5).reshape(7, 6, 5).astype(np.int16)


@pytest.fixture
def planted():
    """Return every text that names the patient in what `dicom_series` writes."""
    return (*PHI.values(), *UIDS.values(), "Zaphod", "Quillfeather", "Damogran", "19430217")


@pytest.fixture
def dicom_series():
    """Return `write(folder, array, affine, change=None, ...)`, which writes a slice `(X, Y)` of the array to a file.

    `change(dataset, number)` may break a dataset before it is written; if it returns `False` the slice is left out.
    """
    return _write_series


def _write_series(folder, array, affine, change=None, slope=1.0, intercept=0.0, modality="CT"):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(array.shape[2]):
        dataset = _slice(array[..., number], affine, number, slope, intercept, modality)
        if change is None or change(dataset, number) is not False:
            dataset.save_as(
                folder / f"{UIDS['SOPInstanceUID']}.{(number * 3) % 7}{number}.dcm", enforce_file_format=True
            )
    return folder


def _slice(pixels, affine, number, slope, intercept, modality):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

    turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(turned[:3, :3], axis=0)
    position = turned @ [0, 0, number, 1]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    for keyword, value in {**PHI, **UIDS}.items():
        setattr(dataset, keyword, value)
    dataset.SOPInstanceUID = f"{UIDS['SOPInstanceUID']}.{number}"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 3, number + 1
    dataset.ImagePositionPatient = [f"{value:.9g}" for value in position[:3]]
    dataset.ImageOrientationPatient = [f"{value:.10f}" for value in (turned[:3, :2] / spacing[:2]).T.ravel()]
    dataset.PixelSpacing = [f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"]
    dataset.SliceThickness = f"{spacing[2]:.9g}"
    dataset.Columns, dataset.Rows = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.PixelData = pixels.T.astype("<i2").tobytes()
    return dataset


@pytest.fixture
def dicom_bytes(oblique, voxels):
    """Return the bytes of one slice that names a patient."""
    buffer = io.BytesIO()
    _slice(voxels[..., 0], oblique, 0, 1, 0, "CT").save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
