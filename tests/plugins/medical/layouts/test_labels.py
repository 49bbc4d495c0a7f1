from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform.errors import ConfigError, DataError
from omniform_medical.case import Case
from omniform_medical.layouts import find_labels, format_labels, parse_labels
from omniform_medical.layouts.labels import in_order


def test_labels_are_read_in_the_order_of_values() -> None:
    assert parse_labels("0=background, 4 = tumour,1=oedema") == (("background", "oedema", "tumour"), (0, 1, 4))


@pytest.mark.parametrize(
    "text",
    [
        "background,tumour",
        "0=background",
        "1=a,2=b",
        "0=b,1=",
        "0=b,1=c,1=d",
        "0=b,1=b",
        "0=b,-1=c",
        "0=b,1.5=c",
        "0=b,",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_labels(text)


_NAMES = st.text(min_size=1, max_size=8)


@given(st.dictionaries(st.integers(1, 999), _NAMES, min_size=1, max_size=5), _NAMES)
def test_what_is_written_is_read_back(named: dict[int, str], background: str) -> None:
    try:
        labels = in_order({0: background} | named)
    except DataError:
        return
    assert parse_labels(format_labels(*labels)) == labels


def _case(folder: Path, name: str, array: np.ndarray) -> Case:
    path = folder / f"{name}.nii.gz"
    nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(array, np.eye(4)), path)
    return Case(name, (path,), path)


def test_labels_are_found_in_the_files(tmp_path: Path) -> None:
    first, second = np.zeros((2, 3, 4, 5), np.int16)
    first[0, 0, 0], second[1, 1] = 7, 300
    cases = [_case(tmp_path, "a", first), _case(tmp_path, "b", second)]
    assert find_labels(cases) == (("background", "7", "300"), (0, 7, 300))


def test_files_that_hold_no_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one value above it"):
        find_labels([_case(tmp_path, "a", np.zeros((3, 4, 5), np.uint8))])
    with pytest.raises(DataError, match=r"'b'.*the value -2"):
        find_labels([_case(tmp_path, "b", np.full((3, 4, 5), -2, np.int16))])
    with pytest.raises(DataError, match=r"'c'.*more than 255 values"):
        find_labels([_case(tmp_path, "c", np.arange(1000, dtype=np.int16).reshape(10, 10, 10))])
    with pytest.raises(DataError, match=r"case 'd': .*whole numbers"):
        find_labels([_case(tmp_path, "d", np.full((3, 4, 5), 0.5, np.float32))])
