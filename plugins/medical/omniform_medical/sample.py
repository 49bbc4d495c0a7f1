"""The embedded sample: an average brain, out of a package that the extra `medical` installs.

The MNI152 template (ICBM 2009a nonlinear symmetric) is the mean T1-weighted magnetic resonance image of 152 adults,
without skull, with the probability that a voxel is grey or white matter (Fonov et al., NeuroImage 54, 2011). It comes
at 1 mm in the Python distribution `nilearn`. Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University, who permit to use, copy, modify and distribute it for any purpose
and without fee, provided that this notice appears in all copies; without warranty.

How it becomes cases:

| step | reason |
| --- | --- |
| the left hemisphere alone | the right is its mirror image to the bit: a test on it would be a test on training data |
| means over cubes of 2 mm | small enough to learn from in a minute |
| the likeliest of rest, grey and white matter | a threshold of 0.2, as nilearn's masks have, gives voxels to both |
| Rician noise in the brain, as of one quick scan | a mean of 152 has none, and thresholds tell its tissues apart |
| eight slabs across, 18 mm thick, 4 mm left out between them | eight cases that share no voxel |

Slabs are numbered from the back: the last fifth by name, which is the test, is what lies furthest to the front. It is
still the same average head: scores here say that all is in working order, and nothing of how well a network would do
on people.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from omniform.errors import PluginError
from omniform_medical.case import Case
from omniform_medical.layouts import Listing

__all__ = ["load_sample"]

_FILE = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_LABELS = (("background", "grey matter", "white matter"), (0, 1, 2))
_BOX = (slice(13, 49), slice(15, 101), slice(0, 78))  # around the left hemisphere, in cubes of 2 mm
_SLABS, _THICKNESS, _GAP = 8, 9, 2
_NOISE = 0.08  # a tenth of the intensity of white matter


@cache
def load_sample() -> Listing:
    """List eight cases of 36x9x78 voxels of 2 mm, written as NIfTI files into a folder that goes when the process ends.

    Raises:
        PluginError: nilearn, or the template in it, is absent.
    """
    folder = Path(tempfile.mkdtemp(prefix="omniform-sample-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    t1, affine = _cubes("t1")
    t1 = _noisy(t1)
    grey, white = _cubes("gm")[0], _cubes("wm")[0]
    label = np.argmax(np.stack([1 - grey - white, grey, white]), axis=0).astype(np.uint8)
    cases = []
    for number in range(_SLABS):
        first = number * (_THICKNESS + _GAP)
        slab = slice(first, first + _THICKNESS)
        cases.append(_write(folder, f"slab-{number + 1}", t1[:, slab], label[:, slab], _shift(affine, (0, first, 0))))
    return Listing("sample", tuple(cases), channels=("T1",), labels=_LABELS)


def _cubes(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of the template over cubes of 2x2x2 voxels in the box, from 0 to 1, and the box's affine."""
    from nibabel.nifti1 import load

    template = load(_path(kind))
    array = np.asanyarray(template.dataobj)  # uint8, 255 for 1
    fine = array[tuple(slice(2 * side.start, 2 * side.stop) for side in _BOX)].astype(np.float32)
    x, y, z = (n // 2 for n in fine.shape)
    assert template.affine is not None
    affine = _shift(template.affine, tuple(2 * side.start + 0.5 for side in _BOX)) @ np.diag([2.0, 2.0, 2.0, 1.0])
    return fine.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5)) / 255, affine


def _noisy(image: np.ndarray) -> np.ndarray:
    """Return the magnitude of an image with noise in its real and in its imaginary part; what is cut away stays 0."""
    real, imaginary = np.random.RandomState(0).normal(scale=_NOISE, size=(2, *image.shape))  # a stream never changed
    return np.where(image > 0, np.hypot(image + real, imaginary), 0).astype(np.float32)


def _path(kind: str) -> Path:
    # the package is found but not imported, which would take seconds
    spec = find_spec("nilearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder, _FILE.format(kind))).is_file():
            return path
    raise PluginError("the sample needs nilearn and its MNI152 template; run pip install 'omniform[medical]'")


def _shift(affine: np.ndarray, voxel: tuple[float, ...]) -> np.ndarray:
    """Return the affine of a grid that begins at this voxel."""
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ voxel
    return shifted


def _write(folder: Path, name: str, image: np.ndarray, label: np.ndarray, affine: np.ndarray) -> Case:
    from nibabel.nifti1 import Nifti1Image, save

    paths = []
    for kind, array in (("image", image), ("label", label)):
        save(Nifti1Image(array, affine), path := folder / f"{name}-{kind}.nii")
        paths.append(path)
    return Case(name, (paths[0],), paths[1])
