"""What is wrong with a user's files is said in one line, with exit code 2, and nothing is written."""

import gzip
import json
import zipfile

import nibabel
import numpy as np
import pytest

from omniform.cli.app import main
from omniform.training.config import Training
from omniform_medical.api import Segmenter

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SMALL = ("--mixer", "linear-attention", "--steps", "1", "--params", "60k", "--depth", "1", "--folds", "2")


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def image(seed=0):
    return np.random.default_rng(seed).normal(100, 20, (12, 11, 9)).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """Return a data set in the layout of the Medical Segmentation Decathlon."""
    folder = tmp_path / "data"
    training = []
    for number in range(5):
        save(folder / "imagesTr" / f"case_{number}.nii.gz", image(number))
        label = np.zeros((12, 11, 9), np.uint8)
        label[3:8, 3:8, 3:6] = 1 + number % 2
        save(folder / "labelsTr" / f"case_{number}.nii.gz", label)
        training.append({"image": f"./imagesTr/case_{number}.nii.gz", "label": f"./labelsTr/case_{number}.nii.gz"})
    told = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "front", "2": "back"}, "training": training}
    (folder / "dataset.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a run with one channel."""
    segmenter = Segmenter(
        "linear-attention", spacing=(4, 4, 4), patch=(16, 16, 16), stages=3, params=60_000, depth=1,
        training=Training(precision="32", device="cpu"),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "run"
    segmenter.fit("sample", budget="1", progress=False).save(path)
    return path


@pytest.fixture
def refused(tmp_path, capfd):
    """Return `check(arguments, *words)`: the command writes one line to stderr with these words, and nothing else."""

    def check(arguments, *words):
        out = tmp_path / "out" / "result.nii.gz"
        before = sorted(tmp_path.rglob("*"))
        capfd.readouterr()
        code = main(["medical", *map(str, arguments), "--out", str(out)])
        said = capfd.readouterr()
        assert code == 2, said
        assert said.out == ""
        lines = said.err.strip().splitlines()
        assert len(lines) == 1, said.err
        for word in words:
            assert word in lines[0], lines[0]
        assert "Traceback" not in lines[0]
        assert sorted(tmp_path.rglob("*")) == before

    return check


def train(folder, *options):
    return ("train", folder, "--task", "segment", *SMALL, *options)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-40])


def four_axes(path):
    save(path, np.zeros((6, 5, 4, 3), np.float32))


def not_a_number(path):
    array = image()
    array[2, 3, 4] = np.nan
    save(path, array)


def not_an_image(path):
    path.write_bytes(gzip.compress(b"these are no voxels"))


BROKEN = {
    truncated: ("case_3", "truncated"),
    four_axes: ("case_3",),
    not_a_number: ("case_3",),
    not_an_image: ("case_3",),
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_an_image_that_cannot_be_read(data, run, refused, spoil):
    path = data / "imagesTr" / "case_3.nii.gz"
    spoil(path)
    refused(train(data), *BROKEN[spoil])
    refused(("segment", run, path), *BROKEN[spoil])


def test_a_label_that_stands_for_no_class(data, refused):
    label = np.zeros((12, 11, 9), np.uint8)
    label[0, 0, :2] = 9
    save(data / "labelsTr" / "case_2.nii.gz", label)
    refused(train(data), "case_2", "2 voxels have the label 9", "1=front")


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((12, 11, 8), AFFINE, "12x11x8 voxels beside 12x11x9"),
        ((12, 11, 9), np.diag([2.0, 2.0, 5.0, 1.0]), "spacing"),
        ((12, 11, 9), AFFINE + np.eye(4, k=3) * 7, "origin"),
    ],
)
def test_a_label_on_another_grid(data, refused, shape, affine, words):
    label = np.zeros(shape, np.uint8)
    label[3:8, 3:8, 3:6] = 1
    save(data / "labelsTr" / "case_2.nii.gz", label, affine)
    refused(train(data), "case_2", words)


def test_an_empty_folder(tmp_path, run, refused):
    (tmp_path / "empty").mkdir()
    refused(train(tmp_path / "empty"), "imagesTr")
    refused(("segment", run, tmp_path / "empty"), "has no image in it")
    refused(train(tmp_path / "absent"), "absent")


def test_a_dataset_file_that_leads_out_of_its_folder(data, tmp_path, refused):
    save(tmp_path / "secret.nii.gz", image())
    told = json.loads((data / "dataset.json").read_text())
    for path in ("../secret.nii.gz", str(tmp_path / "secret.nii.gz")):
        told["training"][0]["image"] = path
        (data / "dataset.json").write_text(json.dumps(told))
        refused(train(data), "dataset.json")


def test_a_zip_that_leads_out_of_its_folder(tmp_path, run, refused, dicom_bytes):
    for name in ("../../evil.dcm", "/evil.dcm"):
        with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
            archive.writestr(name, dicom_bytes)
        refused(("segment", run, tmp_path / "scan.zip"), "outside of the folder")


def test_a_zip_bomb(tmp_path, run, refused):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(80 * 2**20))
    refused(("segment", run, tmp_path / "bomb.zip"), "unpacks to")


def test_options_that_contradict_the_data(data, refused):
    refused(train(data, "--channels", "T1,T2"), "each of the 1 channels")
    refused(train(data, "--labels", "0=background,1=front"), "label 2")
    refused(train(data, "--patch", "16,16"), "patch of three")


def test_a_run_that_is_none(data, tmp_path, refused):
    refused(("segment", tmp_path, data / "imagesTr" / "case_0.nii.gz"), "expected a run folder")
