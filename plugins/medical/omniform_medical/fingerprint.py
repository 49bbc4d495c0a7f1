"""What the training cases have in common, measured once: grids, intensities of the foreground, sizes of classes.

N = cases, C = channels, K = classes, V = sampled foreground voxels
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from omniform.errors import DataError
from omniform_medical.cohort import Cohort, Volume
from omniform_medical.occupancy import background, bounding_box
from omniform_medical.prepared import Frame
from omniform_medical.preprocessing import make_frame

__all__ = ["CaseFingerprint", "ChannelFingerprint", "ClassFingerprint", "Fingerprint", "Spread", "fingerprint"]

_SAMPLED = 50_000  # foreground voxels of a case at most; nnU-Net also draws a share of each case with a fixed seed
_PROBED = 100_000  # voxels of a channel in which fractions are looked for
_SEED = 1234
_MARGIN = 2  # voxels that preparation leaves around what is not empty
_AIR = -500.0  # Hounsfield units: below are air and lung, and nothing that MRI or PET would give
_FLAT = 1e-8  # a standard deviation that stands for none


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Percentiles over cases, of each axis or of one number."""

    p5: tuple[float, ...]
    p10: tuple[float, ...]
    median: tuple[float, ...]
    p95: tuple[float, ...]

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """Measure `(N, A)`."""
        p5, p10, median, p95 = (tuple(row) for row in np.percentile(values, [5, 10, 50, 95], axis=0).tolist())
        return cls(p5=p5, p10=p10, median=median, p95=p95)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFingerprint:
    """The grid of a case along canonical axes, without empty margins, and its classes' volumes in millilitres."""

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    volumes: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelFingerprint:
    """Intensities of a channel's foreground voxels over the training cases.

    Attributes:
        p00_5, p99_5: percentiles.
        hounsfield: `"name"` where the channel is called CT, `"values"` where every case holds whole numbers alone, some
            below -500, and empty where neither says that intensities are Hounsfield units.
    """

    name: str
    mean: float
    std: float
    p00_5: float
    p99_5: float
    hounsfield: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFingerprint:
    """How large a foreground class is: its share of all voxels, and millilitres in the cases that have it."""

    name: str
    cases: int
    share: float
    volume: Spread | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """What a plan is made from."""

    shape: Spread
    spacing: Spread
    channels: tuple[ChannelFingerprint, ...]
    classes: tuple[ClassFingerprint, ...]
    cases: tuple[CaseFingerprint, ...]


def fingerprint(cohort: Cohort) -> Fingerprint:
    """Read every case once and measure it; the same cases give the same fingerprint.

    Raises:
        DataError: a file cannot be read, or no case has a foreground voxel.
    """
    measured = [_measure(cohort, index) for index in range(len(cohort))]
    voxels = np.concatenate([each.sample for each in measured], axis=1)  # (C, V)
    if not voxels.shape[1]:
        raise DataError(
            f"expected foreground in the {len(cohort)} training cases of {cohort.source}, got none; "
            "look at their labels with `omniform medical check`"
        )
    cases = tuple(each.case for each in measured)
    return Fingerprint(
        shape=Spread.of(np.array([case.shape for case in cases])),
        spacing=Spread.of(np.array([case.spacing for case in cases])),
        channels=tuple(
            _channel(name, voxels[index], all(each.looks_hounsfield[index] for each in measured))
            for index, name in enumerate(cohort.channels)
        ),
        classes=_classes(cohort.labels[1:], measured),
        cases=cases,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One case: `sample` is `(C, V)` of its foreground, `counts` `(K - 1,)` voxels of each class, `size` all voxels."""

    case: CaseFingerprint
    sample: np.ndarray
    looks_hounsfield: tuple[bool, ...]
    counts: np.ndarray
    size: int


def _measure(cohort: Cohort, index: int) -> _Measured:
    volume, name = cohort.read(index), cohort.cases[index].name
    geometry, frame = volume.geometry, make_frame(volume.geometry, (None, None, None))
    places, counts = _foreground(volume, len(cohort.labels))
    chosen = np.random.default_rng((_SEED, index)).choice(places, min(_SAMPLED, len(places)), replace=False)
    sample = volume.image[(slice(None), *np.unravel_index(chosen, geometry.shape, order="F"))]
    if not np.isfinite(sample).all():
        raise DataError(f"expected intensities that are finite numbers in {name}, got NaN or infinity; replace them")
    spacing = geometry.spacing
    case = CaseFingerprint(
        name=name,
        shape=_extent(volume, frame),
        spacing=(spacing[frame.axes[0]], spacing[frame.axes[1]], spacing[frame.axes[2]]),
        volumes=tuple((counts * geometry.voxel_volume).tolist()),
    )
    looks = tuple(_looks_hounsfield(channel) for channel in volume.image)
    return _Measured(case, sample, looks, counts, prod(geometry.shape))


def _foreground(volume: Volume, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of foreground voxels, the first axis fastest, and the voxels of each foreground class."""
    if volume.label is None:
        return np.zeros(0, np.int64), np.zeros(classes - 1, np.int64)
    label = volume.label.ravel(order="F")  # as readers give it, so no copy
    places = np.flatnonzero(label)
    return places, np.bincount(label[places], minlength=classes)[1:]


def _extent(volume: Volume, frame: Frame) -> tuple[int, int, int]:
    """Return the sides of the box that preparation keeps."""
    image = frame.canonical(volume.image)
    box = bounding_box(image, [background(channel) for channel in image], margin=_MARGIN)
    x, y, z = (high - low for low, high in box)
    return x, y, z


def _looks_hounsfield(channel: np.ndarray) -> bool:
    step = max(1, int((channel.size / _PROBED) ** (1 / 3)))
    probe = channel[::step, ::step, ::step]
    return bool(channel.min() < _AIR and np.array_equal(probe, np.round(probe)))


def _channel(name: str, voxels: np.ndarray, looks_hounsfield: bool) -> ChannelFingerprint:
    called = re.search(r"\bct\b", name.replace("_", " "), re.IGNORECASE)
    voxels = voxels.astype(np.float64)
    low, high = np.percentile(voxels, [0.5, 99.5]).tolist()
    return ChannelFingerprint(
        name=name,
        mean=float(voxels.mean()),
        std=max(float(voxels.std()), _FLAT),
        p00_5=low,
        p99_5=high,
        hounsfield="name" if called else "values" if looks_hounsfield else "",
    )


def _classes(names: Sequence[str], measured: Sequence[_Measured]) -> tuple[ClassFingerprint, ...]:
    counts = np.stack([each.counts for each in measured])  # (N, K - 1)
    volumes = np.array([each.case.volumes for each in measured])
    total = sum(each.size for each in measured)
    found = counts > 0
    return tuple(
        ClassFingerprint(
            name=name,
            cases=int(found[:, index].sum()),
            share=float(counts[:, index].sum() / total),
            volume=Spread.of(volumes[found[:, index], index, None]) if found[:, index].any() else None,
        )
        for index, name in enumerate(names)
    )
