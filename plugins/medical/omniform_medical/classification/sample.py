"""The embedded sample: crops of the planes of an averaged brain, the class being the direction of the plane.

The volume is the MNI152 T1 template at 1 mm (symmetric, skull-stripped, ICBM 2009a), which comes with the Python
distribution `nilearn`. One averaged brain is no study: the sample shows that everything works, and which network
learns faster, but nothing about patients.

Axial, coronal and sagittal planes are cut at random to 64 x 64 mm, upright, so that the head's outline seldom gives the
class away. The template's hemispheres mirror each other; a test on one hemisphere of
a network trained on the other would be a test on its training data. Slabs along each plane's own normal therefore hold
the parts apart, 2 mm or more between them, sagittal ones by their distance from the middle. A slab is what counts as a
patient, for crops of one slab overlap.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from omniform.errors import PluginError
from omniform_medical.classification.album import Album, Part

__all__ = ["PLANES", "sample_album"]

PLANES = ("axial", "coronal", "sagittal")

_SIZE = 64
_COUNTS: tuple[tuple[Part, int], ...] = (("train", 600), ("validation", 150), ("test", 300))
_PERIOD = 24  # mm: 12 to train on, 3 to validate on, 3 to test on, and 2 twice between them
_SLABS: dict[Part, tuple[int, int]] = {"train": (0, 12), "validation": (14, 17), "test": (19, 22)}
_NORMALS = {"axial": 2, "coronal": 1, "sagittal": 0}
_REACH = {"axial": (-40, 68), "coronal": (-86, 58), "sagittal": (0, 60)}  # mm along the normal that show brain
_BRAIN = 0.75  # share of a crop that is brain


def sample_album() -> Album:
    """Return 600 crops to train on, 150 to validate and 300 to test, as many of each plane; always the same.

    Raises:
        PluginError: `nilearn` is not installed.
    """
    if find_spec("nilearn") is None:
        raise PluginError("the sample needs nilearn, which is absent; run pip install 'omniform[medical]'")
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    volume = np.asarray(image.dataobj, dtype=np.float32)
    origin = -np.asarray(image.affine)[:3, 3]  # voxel of the millimetre 0, axes being parallel
    rng = np.random.default_rng(2009)
    pixels, names, labels, parts, slabs = [], [], [], [], []
    for part, count in _COUNTS:
        for number in range(count):
            plane = PLANES[number % 3]
            crop, slab = _crop(volume, origin, plane, part, rng)
            pixels.append(crop)
            names.append(f"{part}-{number:03d}-{plane}")
            labels.append(plane)
            parts.append(part)
            slabs.append(f"{plane}-{part}-{slab}")
    grey = np.rint(255 * np.stack(pixels)[..., None] / volume.max()).astype(np.uint8)
    return Album(grey, tuple(names), tuple(labels), tuple(parts), tuple(slabs))


def _crop(
    volume: np.ndarray, origin: np.ndarray, plane: str, part: Part, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Draw crops of one plane and part until one shows enough brain; return it with the number of its slab."""
    axis, (low, high), (first, last) = _NORMALS[plane], _REACH[plane], _SLABS[part]
    depths = [mm for mm in range(low, high) if first <= (mm - low) % _PERIOD < last]
    while True:
        mm = int(rng.choice(depths))
        side = int(rng.choice((-1, 1))) if plane == "sagittal" else 1
        whole = np.moveaxis(volume, axis, 0)[round(origin[axis]) + side * mm]
        corner = [int(rng.integers(n - _SIZE + 1)) for n in whole.shape]
        crop = whole[corner[0] : corner[0] + _SIZE, corner[1] : corner[1] + _SIZE]
        if (crop > 0).mean() >= _BRAIN:
            return crop.T[::-1], (mm - low) // _PERIOD
