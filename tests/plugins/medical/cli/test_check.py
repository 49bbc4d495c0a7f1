import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer

from omniform_medical.cli.check import check
from omniform_medical.config import SegmentConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten cases; 2 mL of the class `1` in each."""
    rng = np.random.default_rng(0)
    for name in range(10):
        label = np.zeros((20, 20, 10), np.uint8)
        label[:10, :10] = 1
        for kind, array in (("images", rng.normal(size=label.shape).astype(np.float32)), ("labels", label)):
            (tmp_path / kind).mkdir(exist_ok=True)
            image = nibabel.nifti1.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]))
            nibabel.nifti1.save(image, tmp_path / kind / f"{name}.nii")
    return tmp_path


def test_what_there_is_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(str(folder), SegmentConfig())
    told = capsys.readouterr().out
    assert "10 cases: 6 to train, 2 to validate, 2 to test; channels: image" in told
    assert "20 x 20 x 10" in told
    assert "1 x 1 x 2" in told
    assert "25 %" in told
    assert "0 errors, 0 warnings" in told


def test_json_has_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(str(folder), SegmentConfig(), json=True)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["cases"] == 10
    assert report["split"] == {"train": 6, "validation": 2, "test": 2}
    volume = {"low": [2.0], "median": [2.0], "high": [2.0]}
    assert report["labels"][1] == {"name": "1", "value": 1, "cases": 10, "share": 0.25, "ml": volume}
    assert report["spacing"]["median"] == [1.0, 1.0, 2.0]
    assert report["size"]["high"] == [20, 20, 10]
    assert report["findings"] == []


def test_errors_are_listed_and_end_with_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "images/3.nii").write_bytes(b"")
    (folder / "images/4.nii").write_bytes((folder / "images/5.nii").read_bytes())
    with pytest.raises(typer.Exit) as caught:
        check(str(folder), SegmentConfig(), json=True)
    assert caught.value.exit_code == 2
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(finding["case"], finding["severity"]) for finding in report["findings"]] == [
        ("3", "error"),
        ("5", "error"),
    ]
    with pytest.raises(typer.Exit):
        check(str(folder), SegmentConfig())
    assert "2 errors, 0 warnings" in capsys.readouterr().out


def test_cases_that_cannot_be_split_are_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        check(str(folder), SegmentConfig(folds=9), json=True)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["split"] is None
    assert "give fewer --folds" in report["findings"][0]["text"]
