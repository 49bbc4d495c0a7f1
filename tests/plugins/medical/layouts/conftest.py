"""Folders of tiny volumes: `data` names files, each of which becomes a NIfTI file of a few voxels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

Data = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Return a function that writes files, and `dataset.json` if it is given one, and returns their folder."""

    def write(*names: str, manifest: Any = None) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.zeros((3, 4, 5), np.uint8)
            array[0, 0, :3] = (1, 2, number) if "images" in name else (1, 2, 0)
            nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(array, np.eye(4)), path)
        if manifest is not None:
            text = manifest if isinstance(manifest, str) else json.dumps(manifest)
            (tmp_path / "set" / "dataset.json").write_text(text)
        return tmp_path / "set"

    return write
