"""`omniform medical segment`, over a stand-in for a trained run."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import omniform_medical.api
from omniform.errors import ConfigError
from omniform_medical.cli.segment import segment
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.quality import Check, LabelQuality, Quality
from omniform_medical.reading import read_image, read_label
from omniform_medical.segmentation import Segmentation, Segmentations


class _Threshold:
    """Give the brighter half to a label."""

    mixer = "none"

    @classmethod
    def load(cls, run):
        return cls()

    def segment(self, sources):
        cases = []
        for source in map(Path, sources):
            image = read_image(source)
            label = (image.array > np.median(image.array)).astype(np.uint8)
            like = Image(image.array, image.geometry, source, image.header)
            cases.append(Segmentation(source.name.split(".")[0], label, np.full(label.shape, 204, np.uint8), like))
        quality = Quality(labels=(LabelQuality(),), case=Check(cases=9, mae=0.02, spearman=0.5))
        return Segmentations(cases, ("background", "bright"), (0, 5), quality)


@pytest.fixture
def run(monkeypatch):
    """Return `run(*arguments)`, which runs the command and returns what it printed."""
    monkeypatch.setattr(omniform_medical.api, "Segmenter", _Threshold)
    app = typer.Typer()
    app.command()(segment)

    def call(*arguments):
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


@pytest.fixture
def scans(tmp_path, oblique):
    import nibabel as nib

    paths = []
    for seed, name in enumerate(("one", "two")):
        array = np.random.default_rng(seed).random((8, 6, 4)).astype(np.float32)
        paths.append(tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(array, oblique), paths[-1])
    return paths


def test_a_table_says_volumes_and_how_far_estimates_can_be_trusted(run, scans, tmp_path):
    told = run("run", scans[0], "--out", tmp_path / "out.nrrd")
    assert "bright" in told
    assert f"{96 * 0.8 * 0.9 * 2.5 / 1000:.4g}" in told
    assert "0.800" in told
    assert "off by 0.020 on average over 9 validation cases, rank correlation 0.50" in told
    label = read_label(tmp_path / "out.nrrd")
    assert set(np.unique(label.array)) == {0, 5}
    assert label.geometry.differs(Geometry((8, 6, 4), read_image(scans[0]).geometry.affine)) is None


def test_everything_of_several_cases_as_json(run, scans, tmp_path):
    out = tmp_path / "out"
    options = ("--confidence", "--volumes", out / "v.json", "--overlay", out / "pictures", "--json")
    told = json.loads(run("run", *scans, "--out", out, *options).splitlines()[-1])
    assert told["task"] == "segment"
    assert told["outputs"] == [str(out / "one.nii.gz"), str(out / "two.nii.gz")]
    assert told["volumes"] == json.loads((out / "v.json").read_text())
    assert [(row["case"], row["label"], row["value"]) for row in told["volumes"]] == [
        ("one", "bright", 5), ("two", "bright", 5),
    ]  # fmt: skip
    assert told["estimate"].startswith("off by")
    written = sorted(str(file.relative_to(out)) for file in out.rglob("*.*"))
    assert written == [
        "one.nii.gz", "one_confidence.nii.gz", "pictures/one.png", "pictures/two.png", "two.nii.gz",
        "two_confidence.nii.gz", "v.json",
    ]  # fmt: skip


def test_dicom_comes_out_as_dicom(run, dicom_series, voxels, oblique, tmp_path):
    from highdicom.seg import segread

    series = dicom_series(tmp_path / "series", voxels, oblique)
    run("run", series, "--out", tmp_path / "out", "--format", "dicom-seg")
    assert segread(tmp_path / "out" / "series.dcm").number_of_segments == 1


def test_contradictions_are_refused_before_the_run_is_opened(run, tmp_path):
    for arguments in (
        ("--out", tmp_path / "a.nii.gz", "--format", "nrrd"),
        ("--out", tmp_path / "a.xyz"),
        ("--out", tmp_path / "a", "--volumes", tmp_path / "v.txt"),
    ):
        with pytest.raises(ConfigError, match="expected"):
            run("run", "absent.nii.gz", *arguments)
    assert not list(tmp_path.iterdir())
