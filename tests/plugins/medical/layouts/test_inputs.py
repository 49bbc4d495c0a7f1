import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from omniform.errors import DataError
from omniform_medical.layouts import list_inputs

Data = Callable[..., Path]


def _names(path: Path, *channels: str) -> list[tuple[str, int]]:
    return [(case.name, len(case.images)) for case in list_inputs(path, channels or ("CT",))]


def _dicom(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = get_testdata_file("CT_small.dcm")
    assert isinstance(source, str)
    shutil.copy(source, path)


def test_a_file_is_called_by_its_name(data: Data) -> None:
    assert _names(data("scan.one.nii.gz") / "scan.one.nii.gz") == [("scan.one", 1)]
    assert _names(data("a_0000.nii.gz") / "a_0000.nii.gz") == [("a", 1)]


def test_files_of_a_folder_are_cases(data: Data) -> None:
    assert _names(data("b.nii.gz", "a.nii", "._a.nii")) == [("a", 1), ("b", 1)]


def test_numbers_are_channels_where_there_are_as_many(data: Data) -> None:
    folder = data("img_0000.nii.gz", "img_0001.nii.gz")
    assert _names(folder) == [("img_0000", 1), ("img_0001", 1)]
    assert _names(folder, "T1", "T2") == [("img", 2)]


def test_images_of_a_data_set_need_no_labels(data: Data) -> None:
    folder = data("imagesTr/a.nii.gz", "imagesTs/b.nii.gz", "labelsTr/a.nii.gz", manifest="{}")
    assert _names(folder) == [("a", 1), ("b", 1)]
    assert all(case.label is None for case in list_inputs(folder, ("CT",)))


def test_a_series_is_one_case_called_after_its_folder(tmp_path: Path) -> None:
    for number in range(2):
        _dicom(tmp_path / "study" / "thorax" / f"{number}.dcm")
        _dicom(tmp_path / "study" / "abdomen" / f"IM{number}")
    assert _names(tmp_path / "study" / "thorax") == [("thorax", 1)]
    assert _names(tmp_path / "study" / "abdomen") == [("abdomen", 1)]
    assert _names(tmp_path / "study") == [("abdomen", 1), ("thorax", 1)]


def test_an_archive_is_one_case(tmp_path: Path) -> None:
    _dicom(tmp_path / "series" / "1.dcm")
    archive = Path(shutil.make_archive(str(tmp_path / "upload"), "zip", tmp_path / "series"))
    assert _names(archive) == [("upload", 1)]


@pytest.mark.parametrize(
    ("names", "channels", "words"),
    [
        (("a.nii",), ("T1", "T2"), "the run knows 2 (T1, T2); got 'a.nii'"),
        (("a_0000.nii", "a_0001.nii", "b_0000.nii"), ("T1", "T2"), "case 'b' has no channel 1"),
        (("a_0000.nii", "a_0001.nii", "a_0002.nii"), ("T1", "T2"), "case 'a' has 3 channels, the run knows 2"),
        (("imagesTr/a.nii", "imagesTs/a.nii"), ("CT",), "two cases called 'a'"),
        (("masks/a.nii",), ("CT",), "has no image in it"),
    ],
)
def test_what_does_not_fit_is_refused(
    data: Data, names: tuple[str, ...], channels: tuple[str, ...], words: str
) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        list_inputs(data(*names), channels)


def test_formats_are_not_mixed_and_nothing_is_no_input(data: Data) -> None:
    folder = data("a.nii.gz")
    _dicom(folder / "b.dcm")
    with pytest.raises(DataError, match=r"DICOM files beside 'a.nii.gz'"):
        list_inputs(folder, ("CT",))
    with pytest.raises(DataError, match="there is no"):
        list_inputs(folder / "absent", ("CT",))
