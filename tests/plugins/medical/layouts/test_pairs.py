import re
from collections.abc import Callable
from pathlib import Path

import pytest

from omniform.errors import DataError
from omniform_medical.layouts import list_folder
from omniform_medical.layouts.pairs import match

Data = Callable[..., Path]


@pytest.mark.parametrize("kind", ["", "Tr", "_train"])
def test_images_and_labels_are_brought_together(data: Data, kind: str) -> None:
    folder = data(f"images{kind}/b.nii.gz", f"images{kind}/a.nii", f"labels{kind}/a.nii.gz", f"labels{kind}/b.nii.gz")
    listing = list_folder(folder)
    assert [case.name for case in listing.cases] == ["a", "b"]
    assert listing.cases[0].images == (folder / f"images{kind}/a.nii",)
    assert listing.cases[0].label == folder / f"labels{kind}/a.nii.gz"
    assert (listing.held_out, listing.channels, listing.labels) == (frozenset(), None, None)


def test_channels_are_told_from_the_names_of_labels(data: Data) -> None:
    listing = list_folder(data("images/a_0001.nii.gz", "images/a_0000.nii.gz", "labels/a.nii.gz"))
    assert [path.name for path in listing.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_numbers_that_labels_share_are_no_channels(data: Data) -> None:
    names = [f"img_{number:04}.nii.gz" for number in range(3)]
    listing = list_folder(data(*(f"images/{name}" for name in names), *(f"labels/{name}" for name in names)))
    assert [case.name for case in listing.cases] == ["img_0000", "img_0001", "img_0002"]


def test_own_test_set_is_held_out_as_far_as_it_is_labelled(data: Data) -> None:
    images = ("imagesTr/a.nii.gz", "imagesTs/b.nii.gz", "imagesTs/c.nii.gz", "images_test/d.nii.gz")
    listing = list_folder(data(*images, "labelsTr/a.nii.gz", "labelsTs/b.nii.gz"))
    assert [case.name for case in listing.cases] == ["a", "b"]
    assert listing.held_out == {"b"}


def test_companions_of_macos_and_other_formats_are_left_out(data: Data) -> None:
    folder = data("images/a.nii.gz", "images/._a.nii.gz", "labels/a.nii.gz", "labels/._b.nii.gz")
    (folder / "images" / "notes.txt").write_text("hello")
    (folder / "labels" / ".DS_Store").write_bytes(b"")
    assert len(list_folder(folder).cases) == 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("images/a.nii", "images/b.nii", "labels/a.nii"), "no label of 'b'"),
        (("images/a.nii", "labels/a.nii", "labels/b.nii"), "labels of cases that images/ lacks: 'b'"),
        (("images/a.nii", "images/a.nii.gz", "labels/a.nii"), "both 'a.nii' and 'a.nii.gz'"),
        (("images/a_0000.nii", "images/a_0002.nii", "labels/a.nii"), "case 'a' has no channel 1"),
        (("images/a_0000.nii", "images/b.nii", "labels/a.nii"), "called CASE_0000, CASE_0001, ... after"),
        (("images/a.nii", "masks/a.nii"), "images/ but no labels/"),
        (("scans/a.nii", "labels/a.nii"), "no folder images/ or imagesTr/"),
        (("imagesTs/a.nii", "labelsTs/a.nii"), "no folder images/ or imagesTr/"),
        (("images/a.nii", "labels/a.nii", "images2/a.nii", "labels2/a.nii"), "got 'a' twice"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(data: Data, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        list_folder(data(*names))
    assert "\n" not in str(caught.value)
    assert "set" in str(caught.value)


def test_many_names_are_cut(data: Data) -> None:
    folder = data(*(f"images/{letter}.nii" for letter in "abcdef"), "labels/a.nii")
    with pytest.raises(DataError, match="'b', 'c', 'd' and 2 more"):
        match(folder / "images", folder / "labels")


def test_empty_folders_and_absent_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="at least one image with its label"):
        list_folder(tmp_path)
    with pytest.raises(DataError, match="or `sample`; got"):
        list_folder(tmp_path / "absent")
