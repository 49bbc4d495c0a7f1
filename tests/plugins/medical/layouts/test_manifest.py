import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform.errors import DataError
from omniform_medical.layouts.manifest import Manifest, read_manifest
from omniform_medical.layouts.msd import list_msd
from omniform_medical.layouts.nnunet import list_nnunet

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["imagesTr/a_0000.nii", "CT"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text() | st.just("0"), children, max_size=3),
    max_leaves=6,
)
_ENTRIES = st.lists(st.dictionaries(st.sampled_from(["image", "label"]), _VALUES, max_size=2) | _VALUES, max_size=3)
_KEYS = ("modality", "channel_names", "labels", "file_ending", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for name in ("imagesTr/a_0000.nii", "labelsTr/a.nii"):
        (folder / name).parent.mkdir()
        nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), folder / name)
    return folder


@given(content=st.dictionaries(st.sampled_from(_KEYS), _VALUES), training=_ENTRIES | _VALUES)
def test_whatever_it_says_is_listed_or_refused_in_one_line(
    folder: Path, content: dict[str, Any], training: object
) -> None:
    manifest = Manifest(folder / "dataset.json", content | {"training": training})
    for read in (list_msd, list_nnunet):
        refusal, cases = "", ()
        try:
            cases = read(manifest).cases
        except DataError as error:
            refusal = str(error)
        assert len(refusal.splitlines()) == (not cases)
        assert all(folder in path.parents for case in cases for path in case.images)


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_a_mark_of_byte_order_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("\ufeff" + json.dumps({"a": 1}))
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert "a" in manifest


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="is no JSON"):
        read_manifest(tmp_path)
