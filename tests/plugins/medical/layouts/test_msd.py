import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omniform.errors import DataError
from omniform_medical.layouts import list_folder

Data = Callable[..., Path]


def _manifest(**changes: Any) -> dict[str, Any]:
    training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in ("b", "a")]
    labels = {"2": "posterior", "0": "background", "1": "anterior"}
    return {"modality": {"0": "MRI"}, "labels": labels, "training": training, "test": ["./imagesTs/c.nii.gz"]} | changes


_FILES = tuple(f"{kind}Tr/{name}.nii.gz" for kind in ("images", "labels") for name in ("a", "b"))


def test_the_list_says_what_there_is(data: Data) -> None:
    folder = data(*_FILES, "imagesTr/unlisted.nii.gz", "imagesTs/c.nii.gz", manifest=_manifest())
    listing = list_folder(folder)
    assert [case.name for case in listing.cases] == ["a", "b"]
    assert listing.cases[0].label == folder / "labelsTr/a.nii.gz"
    assert listing.channels == ("MRI",)
    assert listing.labels == (("background", "anterior", "posterior"), (0, 1, 2))
    assert not listing.held_out


def test_labelled_tests_are_held_out(data: Data) -> None:
    folder = data(*_FILES, "imagesTs/c.nii.gz", "labelsTs/c.nii.gz", manifest=_manifest())
    assert list_folder(folder).held_out == {"c"}


@pytest.mark.parametrize(
    "text",
    [
        "../outside.nii.gz",
        "x" * 5000,
        "nul\0",
        "\ud800",
        "imagesTr/../../outside.nii.gz",
        "/etc/passwd",
        "..\\outside.nii.gz",
        "C:\\a.nii",
        "",
        3,
        ".",
    ],
)
def test_paths_that_lead_out_of_the_folder_are_refused(data: Data, text: object) -> None:
    folder = data(*_FILES, manifest=_manifest(training=[{"image": text, "label": "labelsTr/a.nii.gz"}]))
    (folder.parent / "outside.nii.gz").write_bytes((folder / "imagesTr/a.nii.gz").read_bytes())
    with pytest.raises(DataError, match=r"dataset.json'.*(inside of the folder|no file)"):
        list_folder(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modality": {"0": "T1", "1": "FLAIR"}}, "2 modalities (T1, FLAIR) in one 4-D file"),
        ({"modality": {"1": "T1"}}, "'modality' to number names from 0, got '1'"),
        ({"modality": {"0": "T1\nT2"}}, r"printable names, got 'T1\nT2'"),
        ({"labels": {"0": "a", "1": "b\nc"}}, r"'b\nc'"),
        ({"labels": {"1": "a", "2": "b"}}, "expected 0 for the background"),
        ({"labels": {"0": "a", "1": "a"}}, "a name of its own for every class"),
        ({"labels": {"0": "a", "x": "b"}}, "got the value 'x'"),
        ({"labels": {"0": "a", "9" * 5000: "b"}}, "got the value '999"),
        ({"labels": {"0": "a", "99999999": "b"}}, "values up to 16777215"),
        ({"labels": ["a", "b"]}, "'labels' to be an object, got list"),
        ({"labels": {str(value): f"{value}" for value in range(256)}}, "at most 255 classes"),
        ({"training": {}}, "'training' to be a list, got dict"),
        ({"training": []}, "at least one image"),
        ({"training": ["imagesTr/a.nii.gz"]}, "with image and label"),
        ({"training": [{"image": "imagesTr/a.nii.gz"}]}, "no label of 'a'"),
        ({"training": [{"image": "imagesTr/z.nii.gz"}]}, "no file 'imagesTr/z.nii.gz'"),
        ({"training": _manifest()["training"] * 2}, "'a', 'b' twice"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(data: Data, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        list_folder(data(*_FILES, manifest=_manifest(**changes)))
    assert "\n" not in str(caught.value)
    assert "set" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2", "[]", "3", '{"a": 1}', "[" * 100_000, "nul\0"])
def test_a_manifest_that_is_none_is_refused(data: Data, text: str) -> None:
    with pytest.raises(DataError, match=r"dataset\.json'"):
        list_folder(data(*_FILES, manifest=text))
