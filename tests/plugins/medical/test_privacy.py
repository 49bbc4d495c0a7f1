"""A patient who is named in every DICOM tag that can is named in nothing that comes of training and predicting.

Except in a DICOM segmentation, whose format repeats the patient. What is burned into pixels is not looked for.
"""

import base64
import gzip
import re
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image

from omniform.cli.app import main
from omniform_medical.bundle import export_bundle
from omniform_medical.cli.cases import cases

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of what the tests write

SMALL = (
    *("--mixer", "linear-attention", "--steps", "1", "--params", "40k", "--depth", "1", "--device", "cpu"),
    *("--spacing", "2,2,3", "--patch", "16,16,16", "--stages", "2", "--precision", "32", "--folds", "2"),
)


@pytest.fixture
def study(tmp_path, dicom_series, planted):
    """Return a folder with a labelled data set of series that name a patient, and another series, as a zip too."""
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for number in range(5):
        array = rng.integers(0, 60, (18, 17, 9)).astype(np.int16)
        array[4:12, 5:13, 2:7] += 200
        dicom_series(tmp_path / "data" / "images" / f"case-{number}", array, affine)
        (tmp_path / "data" / "labels").mkdir(exist_ok=True)
        label = nibabel.Nifti1Image((array > 150).astype(np.uint8), affine)
        nibabel.save(label, tmp_path / "data" / "labels" / f"case-{number}.nii.gz")
    series = tmp_path / "data" / "images" / "case-0"
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in series.iterdir():
            archive.write(file, f"Zaphod^Quillfeather/{file.name}")
    assert named(b"".join(file.read_bytes() for file in series.iterdir()), planted)
    return tmp_path


def named(content, planted):
    """Return the planted texts that are in bytes, also once unpacked as gzip, out of data URLs, or turned to UTF-16."""
    parts = [content, gzip.decompress(content) if content[:2] == b"\x1f\x8b" else b""]
    parts += [base64.b64decode(found) for found in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content)]
    for found in re.finditer(rb"(?:zTXt|iTXt)[^\0]*\0[\0\1]*([^\0]+)", content):  # compressed texts of PNG files
        try:
            parts.append(zlib.decompress(found[1]))
        except zlib.error:
            continue
    whole = b"\n".join(parts)
    return [text for text in planted if text.encode() in whole or text.encode("utf-16-le") in whole]


def test_nothing_that_is_written_or_said_names_the_patient(study, planted, capfd, caplog):
    caplog.set_level(0)
    run, out = study / "run", study / "out"
    assert (
        main(["medical", "train", str(study / "data"), "--task", "segment", *SMALL, "--out", str(run), "--json"]) == 0
    )
    wanted = ("--confidence", "--volumes", str(out / "v.csv"), "--overlay", str(out / "pictures"), "--json")
    for name, source in (("folder", study / "data" / "images" / "case-0"), ("zip", study / "scan.zip")):
        arguments = ("segment", str(run), str(source), "--out", str(out / name), *wanted)
        assert main(["medical", *arguments]) == 0
    assert main(["medical", "segment", str(run), str(study / "scan.zip"), "--out", str(out / "label.nrrd")]) == 0
    cases(run, str(study / "data"), out=out / "cases.csv", json=True)
    cases(run, str(study / "data"), out=out / "cases.json", json=False)
    export_bundle(run, study / "bundle")

    files = [file for folder in (run, out, study / "bundle") for file in folder.rglob("*") if file.is_file()]
    endings = {file.suffix for file in files}
    assert endings >= {".json", ".safetensors", ".html", ".png", ".gz", ".csv", ".nrrd", ".md"}
    for file in files:
        assert not named(file.read_bytes(), planted), file
        assert not named(str(file.relative_to(study)).encode(), planted)
        if file.suffix == ".png":
            assert not named(repr(Image.open(file).info).encode(), planted)
        if file.name.endswith(".nii.gz"):
            header = nibabel.load(file).header
            assert not named(header.binaryblock + repr(header.extensions).encode(), planted)
            assert not header.extensions
            assert not header["descrip"].tobytes().strip(b"\0")
    said = capfd.readouterr()
    told = said.out + said.err + " ".join(record.getMessage() for record in caplog.records)
    assert "case-0" in told
    assert not named(told.encode(), planted)


def test_a_dicom_segmentation_is_the_exception(study, planted):
    """It belongs to the patient's study, or it could not be shown over the images."""
    run, out = study / "run", study / "label.dcm"
    assert main(["medical", "train", str(study / "data"), "--task", "segment", *SMALL, "--out", str(run)]) == 0
    source = study / "data" / "images" / "case-0"
    assert main(["medical", "segment", str(run), str(source), "--out", str(out)]) == 0
    assert "Zaphod" in named(out.read_bytes(), planted)


@pytest.mark.parametrize("what", ["cut", "two", "label"])
def test_no_complaint_names_the_patient(study, planted, capfd, dicom_series, what):
    """Broken input is refused by number, not by what its tags or names within an archive say."""
    series = study / "data" / "images" / "case-1"
    if what == "cut":
        file = sorted(series.iterdir())[3]
        file.write_bytes(file.read_bytes()[:700])
    elif what == "two":
        dicom_series(study / "other", np.zeros((18, 17, 3), np.int16), np.diag([1.0, 1, 1, 1]), change=_another)
        for file in (study / "other").iterdir():
            file.rename(series / f"other-{file.name}")
    else:
        label = nibabel.Nifti1Image(np.full((18, 17, 9), 7, np.uint8), np.eye(4))
        nibabel.save(label, study / "data" / "labels" / "case-1.nii.gz")
    code = main(["medical", "train", str(study / "data"), "--task", "segment", *SMALL, "--out", str(study / "run")])
    said = capfd.readouterr()
    assert code == 2
    assert "case-1" in said.err
    assert not named((said.out + said.err).encode(), planted)
    assert not (study / "run").exists()


def _another(dataset, number):
    dataset.SeriesInstanceUID = "1.2.826.77.2002.9"
