"""What a network sees of a volume: spacing, patch, intensities, depth. Worked out from a cohort's fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from omniform.errors import ConfigError
from omniform_medical.config import PlanConfig

__all__ = [
    "MIN_SIZE", "Intensity", "Normalization", "Plan", "Strides", "halvings", "read_patch", "read_spacing",
]  # fmt: skip

Normalization = Literal["zscore", "ct"]
Strides = tuple[tuple[int, int, int], ...]

MIN_SIZE = 8
"""Voxels that an axis must have to be halved: at least 4 are left at the bottom of the pyramid."""

_PER_CHANNEL = 4  # numbers of an `Intensity`


@dataclass(frozen=True, kw_only=True, slots=True)
class Intensity:
    """Statistics of a channel's foreground voxels in the training cases, for `ct`: clip to (low, high), z-score."""

    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How volumes become patches, and patches a pyramid.

    Attributes:
        spacing: millimetres along the canonical axes (x to the right, y to the front, z up).
        patch: voxels of a patch along the same axes; the last is 1 for networks of planes.
        strides: for each halving, by how much every axis shrinks: `((2, 2, 1), (2, 2, 2))` spares a coarse z at first.
        normalization: of every channel.
        intensities: of every channel.
        batch: patches in a step.
    """

    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    strides: Strides
    normalization: tuple[Normalization, ...]
    intensities: tuple[Intensity, ...]
    batch: int

    @property
    def rank(self) -> int:
        """Number of axes that the network sees: 2 for planes, 3 for volumes."""
        return 2 if self.patch[2] == 1 else 3

    @classmethod
    def of(cls, config: PlanConfig) -> Plan:
        """Read the plan that a resolved config holds; the strides follow from patch, spacing and stages.

        Raises:
            ConfigError: a part is missing, or parts contradict each other.
        """
        parts = ("spacing", "patch", "stages", "normalization", "intensities", "batch")
        if missing := [name for name in parts if not getattr(config, name)]:
            raise ConfigError(f"expected a whole plan, but it lacks {', '.join(missing)}; plan it from data first")
        spacing, patch = read_spacing(config.spacing), read_patch(config.patch)
        if config.dims != "auto" and (config.dims == "2") != (patch[2] == 1):
            raise ConfigError(
                f"--dims {config.dims} contradicts a patch of {_times(patch)}: "
                "the last number is 1 for planes and more for volumes"
            )
        if config.batch < 1:
            raise ConfigError(f"expected a batch of at least one patch, got {config.batch}")
        return cls(
            spacing=spacing,
            patch=patch,
            strides=_strides(patch, spacing, config.stages),
            normalization=_normalization(config.normalization),
            intensities=_intensities(config.intensities, channels=len(config.normalization)),
            batch=config.batch,
        )


def halvings(patch: tuple[int, int, int], spacing: tuple[float, float, float]) -> Strides:
    """Return the strides of as many halvings as a patch bears, in the manner of nnU-Net (arXiv 1904.08128).

    An axis is halved while it has at least 8 voxels and its voxels are less than twice as long as the shortest among
    the axes that could be halved. What is odd is rounded up.
    """
    strides: list[tuple[int, int, int]] = []
    size, length = list(patch), list(spacing)
    while able := [axis for axis in range(3) if size[axis] >= MIN_SIZE]:
        shortest = min(length[axis] for axis in able)
        x, y, z = (2 if axis in able and length[axis] < 2 * shortest else 1 for axis in range(3))
        strides.append((x, y, z))
        size = [-(-voxels // stride) for voxels, stride in zip(size, strides[-1], strict=True)]
        length = [side * stride for side, stride in zip(length, strides[-1], strict=True)]
    return tuple(strides)


def read_spacing(values: tuple[float, ...]) -> tuple[float, float, float]:
    """Return three lengths.

    Raises:
        ConfigError: they are not three, or not positive.
    """
    if len(values) != 3 or not all(0 < value < float("inf") for value in values):
        raise ConfigError(f"expected a spacing of three lengths in millimetres, such as 1,1,2.5; got {values}")
    return values


def read_patch(values: tuple[int, ...]) -> tuple[int, int, int]:
    """Return three numbers of voxels.

    Raises:
        ConfigError: they are not three, or not positive.
    """
    if len(values) != 3 or min(values) < 1:
        raise ConfigError(f"expected a patch of three numbers of voxels, such as 64,64,32 or 64,64,1; got {values}")
    return values


def _strides(patch: tuple[int, int, int], spacing: tuple[float, float, float], stages: int) -> Strides:
    strides = halvings(patch, spacing)
    if not 1 <= stages <= len(strides) + 1:
        raise ConfigError(
            f"expected from 1 to {len(strides) + 1} stages for a patch of {_times(patch)}, got {stages}; "
            f"an axis must have {MIN_SIZE} voxels to be halved"
        )
    return strides[: stages - 1]


def _normalization(values: tuple[str, ...]) -> tuple[Normalization, ...]:
    for value in values:
        if value not in ("zscore", "ct"):
            raise ConfigError(f"expected zscore or ct as the normalization of a channel, got {value!r}")
    return cast("tuple[Normalization, ...]", values)


def _intensities(values: tuple[float, ...], *, channels: int) -> tuple[Intensity, ...]:
    if len(values) != _PER_CHANNEL * channels:
        raise ConfigError(
            f"expected low,high,mean,std for each of {channels} channels, so {_PER_CHANNEL * channels} numbers, "
            f"got {len(values)}"
        )
    statistics = []
    for low, high, mean, std in (values[at : at + _PER_CHANNEL] for at in range(0, len(values), _PER_CHANNEL)):
        if not (low <= high and std > 0):
            raise ConfigError(f"expected low <= high and std > 0 in intensities, got low {low}, high {high}, std {std}")
        statistics.append(Intensity(low=low, high=high, mean=mean, std=std))
    return tuple(statistics)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
