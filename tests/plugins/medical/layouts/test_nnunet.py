import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omniform.errors import DataError
from omniform_medical.layouts import list_folder

Data = Callable[..., Path]

_FILES = (
    *(f"imagesTr/{case}_{channel:04}.nii.gz" for case in ("a", "b") for channel in (0, 1)),
    *(f"labelsTr/{case}.nii.gz" for case in ("a", "b")),
)


def _manifest(**changes: Any) -> dict[str, Any]:
    channels = {"0": "T1", "1": "FLAIR"}
    labels = {"background": 0, "tumour": 4, "oedema": 2}
    return {"channel_names": channels, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"} | changes


def test_channels_and_labels_have_their_names(data: Data) -> None:
    tests = ("imagesTs/c_0000.nii.gz", "imagesTs/c_0001.nii.gz", "imagesTs/d_0000.nii.gz", "imagesTs/d_0001.nii.gz")
    listing = list_folder(data(*_FILES, *tests, "labelsTs/d.nii.gz", manifest=_manifest()))
    assert [case.name for case in listing.cases] == ["a", "b", "d"]
    assert [path.name for path in listing.cases[1].images] == ["b_0000.nii.gz", "b_0001.nii.gz"]
    assert listing.channels == ("T1", "FLAIR")
    assert listing.labels == (("background", "oedema", "tumour"), (0, 2, 4))
    assert listing.held_out == {"d"}


def test_names_that_end_with_a_number_keep_it(data: Data) -> None:
    files = ("imagesTr/BRATS_0007_0000.nii.gz", "labelsTr/BRATS_0007.nii.gz")
    listing = list_folder(data(*files, manifest=_manifest(channel_names={"0": "CT"})))
    assert [case.name for case in listing.cases] == ["BRATS_0007"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, "'whole' is a region of several values"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "'ignore' is not known"),
        ({"labels": {"background": 0, "a": "1"}}, "a whole number from 0 up for the label 'a', got '1'"),
        ({"labels": {"background": 0, "a": True}}, "got True"),
        ({"labels": {"background": 0, "a": -1}}, "got -1"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "a value of its own"),
        ({"labels": {"a": 1, "b": 2}}, "expected 0 for the background"),
        ({"channel_names": {"0": "CT"}}, "1 channels (CT), but case 'a' has 2"),
        ({"file_ending": ".nrrd"}, "end with '.nrrd', got 'a_0000.nii.gz'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(data: Data, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        list_folder(data(*_FILES, manifest=_manifest(**changes)))
    assert "\n" not in str(caught.value)


def test_absent_folders_and_channels_are_named(data: Data) -> None:
    with pytest.raises(DataError, match="expected a folder labelsTr/"):
        list_folder(data("imagesTr/a_0000.nii.gz", manifest=_manifest()))
    with pytest.raises(DataError, match="case 'c' has no channel 1; expected a file 'c_0001'"):
        list_folder(data(*_FILES, "imagesTr/c_0000.nii.gz", "labelsTr/c.nii.gz", manifest=_manifest()))
