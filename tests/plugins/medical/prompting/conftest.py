"""A small data set of bright blobs in noise, in volumes of oblique position."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of ten cases of 20x17x4 voxels with one ellipsoid each, as images/ and labels/."""
    import nibabel

    folder = tmp_path_factory.mktemp("blobs")
    affine = np.diag([0.8, -1.1, 3.0, 1.0])
    affine[:3, 3] = (5.0, -7.5, 12.25)
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in (20, 17, 4)), indexing="ij"), axis=-1)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for case in range(10):
        middle, radii = rng.uniform((7, 6, 1), (12, 10, 2)), rng.uniform((4, 3, 2), (6, 5, 3))
        label = (((places - middle) / radii) ** 2).sum(-1) <= 1
        image = rng.normal(0, 0.3, label.shape) + 2 * label
        for kind, array in (("images", image.astype(np.float32)), ("labels", 3 * label.astype(np.uint8))):
            nibabel.nifti1.save(nibabel.nifti1.Nifti1Image(array, affine), folder / kind / f"case{case}.nii.gz")
    return folder
