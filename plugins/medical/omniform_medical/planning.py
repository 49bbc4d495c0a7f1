"""From a fingerprint to a plan in the manner of nnU-Net (arXiv 1809.10486, 1904.08128), with a reason for each part.

N = cases
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from omniform.errors import ConfigError
from omniform.serial import to_json
from omniform_medical.cohort import Cohort
from omniform_medical.config import PlanConfig
from omniform_medical.fingerprint import ChannelFingerprint, Fingerprint, fingerprint
from omniform_medical.memory import MIN_BATCH, format_bytes, parse_bytes, training_bytes
from omniform_medical.patch_size import plan_patch
from omniform_medical.plan import MIN_SIZE, Intensity, Plan, Strides, halvings, read_patch, read_spacing
from omniform_medical.plan_file import PlanParts, fill_plan, flatten

__all__ = ["Proposal", "plan_cohort", "resolve_plan"]

ConfigT = TypeVar("ConfigT", bound=PlanConfig)
Shape = tuple[int, int, int]
Lengths = tuple[float, float, float]

_MAX_STAGES = 5
_MAX_BATCH = 8
_COARSE = 3.0  # times the finest spacing, beyond which an axis counts as coarse
_SHARE = 0.05  # of all training voxels, which a batch may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(Generic[ConfigT]):
    """A plan with its reasons.

    Attributes:
        config: with the plan written down.
        why: a sentence for each decision.
    """

    config: ConfigT
    fingerprint: Fingerprint
    why: tuple[str, ...]

    @property
    def plan(self) -> Plan:
        return Plan.of(self.config)

    def as_json(self) -> dict[str, Any]:
        """Return what `write` writes."""
        parts = PlanParts.of(self.plan)
        return {"plan": to_json(parts), "why": list(self.why), "fingerprint": to_json(self.fingerprint)}

    def write(self, path: Path) -> None:
        """Write a JSON file that `--plan` reads; a list of numbers takes one line."""
        from omniform.training.checkpoint import replace_file

        text = json.dumps(self.as_json(), indent=2, allow_nan=False)
        flat = re.sub(r"\[\s+([-+.,\d\se]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
        replace_file(path, f"{flat}\n".encode())


def resolve_plan(cohort: Cohort, config: ConfigT) -> ConfigT:
    """Return the config with a whole plan written down, made from training cases where options leave it open.

    Options that are given stay, then comes what the file `config.plan` says, which is read once: the result does not
    name it. A config that is whole comes back as it is, and no case is read.

    Raises:
        ConfigError: options, or the file and options, contradict each other or the cohort's channels.
        DataError: a case cannot be read, or none has a foreground.
    """
    config = config if config.plan is None else fill_plan(config, config.plan)
    if not _is_whole(config):
        config = plan_cohort(fingerprint(cohort), config).config
    channels = len(Plan.of(config).normalization)
    if channels != len(cohort.channels):
        raise ConfigError(
            f"expected a plan of {len(cohort.channels)} channels ({', '.join(cohort.channels)}), got one of {channels}"
        )
    return config


def plan_cohort(fingerprint: Fingerprint, config: ConfigT) -> Proposal[ConfigT]:
    """Decide what the options, and the file that they may name, leave open.

    Raises:
        ConfigError: options contradict each other, or the memory is too small for any patch.
    """
    config = config if config.plan is None else fill_plan(config, config.plan)
    spacing, why_spacing = _spacing(fingerprint, config)
    shapes = np.array([_resampled(case.shape, case.spacing, spacing) for case in fingerprint.cases])  # (N, 3)
    x, y, z = np.median(shapes, axis=0).round().astype(int).tolist()
    flat, why_dims = _flat(fingerprint, config, z, spacing)
    patch, why_patch = _patch(fingerprint, config, (x, y, 1 if flat else z), spacing)
    strides = halvings(patch, spacing)[: _most(config)]
    batch, why_batch = _batch(fingerprint, config, patch, strides, voxels=int(shapes.prod(axis=1).sum()))
    normalization, why_normalization = _normalization(fingerprint, config)
    resolved = replace(
        config,
        dims="2" if flat else "3",
        spacing=spacing,
        patch=patch,
        stages=config.stages or len(strides) + 1,
        normalization=normalization,
        intensities=config.intensities or _intensities(fingerprint),
        batch=batch,
    )
    Plan.of(resolved)  # refuses contradictions
    why = (why_dims, why_spacing, why_patch, _strides_reason(config, strides), why_batch, *why_normalization)
    return Proposal(config=resolved, fingerprint=fingerprint, why=why)


def _is_whole(config: PlanConfig) -> bool:
    parts = (config.spacing, config.patch, config.stages, config.normalization, config.intensities, config.batch)
    return config.dims != "auto" and all(parts)


def _spacing(fingerprint: Fingerprint, config: PlanConfig) -> tuple[Lengths, str]:
    """Return the median spacing; of an axis more than 3 times as coarse as the finest, the 10th percentile."""
    if config.spacing:
        return read_spacing(config.spacing), f"Spacing {_millimetres(config.spacing)}: as asked."
    target = list(fingerprint.spacing.median)
    coarse = int(np.argmax(target))
    reason = "the median of the training cases along each axis"
    if target[coarse] > _COARSE * min(target):
        reason = (
            f"the median along each axis, but the 10th percentile along {'xyz'[coarse]}, whose median of "
            f"{target[coarse]:.4g} mm is more than {_COARSE:g} times the finest"
        )
        target[coarse] = max(fingerprint.spacing.p10[coarse], *target[:coarse], *target[coarse + 1 :])
    return read_spacing(tuple(target)), f"Spacing {_millimetres(target)}: {reason}."


def _resampled(shape: Shape, spacing: Lengths, target: Lengths) -> list[int]:
    return [max(1, round(n * own / to)) for n, own, to in zip(shape, spacing, target, strict=True)]


def _flat(fingerprint: Fingerprint, config: PlanConfig, slices: int, spacing: Lengths) -> tuple[bool, str]:
    """Decide whether the network sees planes."""
    if config.dims != "auto" or config.patch:
        flat = config.dims == "2" if config.dims != "auto" else config.patch[-1] == 1
        return flat, f"{'Planes' if flat else 'Volumes'}: as asked."
    if all(case.shape[2] == 1 for case in fingerprint.cases):
        return True, "Planes: every training case has a single slice."
    flat = slices < MIN_SIZE and spacing[2] > _COARSE * min(spacing)
    kind = "Planes" if flat else "Volumes"
    return flat, f"{kind}: the median case has {slices} slices, {spacing[2]:.4g} mm apart."


def _most(config: PlanConfig) -> int:
    return max(0, (config.stages or _MAX_STAGES) - 1)


def _patch(fingerprint: Fingerprint, config: PlanConfig, median: Shape, spacing: Lengths) -> tuple[Shape, str]:
    if config.patch:
        return read_patch(config.patch), f"Patch {_times(config.patch)}: as asked."
    batch = config.batch or MIN_BATCH

    def cost(patch: Shape, strides: Strides) -> int:
        return batch * _bytes(fingerprint, patch, strides)

    patch = plan_patch(median, spacing, most=_most(config), cost=cost, limit=parse_bytes(config.memory))
    shrunk = any(size < wanted for size, wanted in zip(patch, median, strict=True))
    reason = f"shrunk until {batch} of them train in {config.memory}" if shrunk else "rounded up to whole strides"
    return patch, f"Patch {_times(patch)}: the median case at this spacing, {_times(median)}, {reason}."


def _strides_reason(config: PlanConfig, strides: Strides) -> str:
    steps = ", ".join(_times(stride) for stride in strides) or "none"
    many = "as many as asked" if config.stages else f"at most {_MAX_STAGES}"
    return (
        f"Stages {len(strides) + 1}, strides {steps}: {many}, and an axis is halved while it has {MIN_SIZE} voxels or "
        "more that are less than twice as long as the shortest."
    )


def _batch(
    fingerprint: Fingerprint, config: PlanConfig, patch: Shape, strides: Strides, *, voxels: int
) -> tuple[int, str]:
    """Fill the memory, within 5 % of all training voxels and between 2 and 8 patches."""
    one = _bytes(fingerprint, patch, strides)
    fits = parse_bytes(config.memory) // one
    limit, reason = min(
        (fits, f"more do not fit into {config.memory}"),
        (int(_SHARE * voxels / prod(patch)), f"they hold {_SHARE:.0%} of all training voxels"),
        (_MAX_BATCH, "more are not planned"),
    )
    batch = config.batch or max(MIN_BATCH, limit)
    if config.batch:
        reason = "as asked"
    elif limit < MIN_BATCH:
        reason = "fewer are not planned"
    beyond = f", beyond the {config.memory} that --memory allows" if batch > fits else ""
    return batch, (
        f"Batch {batch}: {reason}; by formula a U-Net of width 32 takes {format_bytes(batch * one)} to train on them "
        f"in float32{beyond}."
    )


def _bytes(fingerprint: Fingerprint, patch: Shape, strides: Strides) -> int:
    """Return what one patch of a step takes."""
    channels, classes = len(fingerprint.channels), len(fingerprint.classes) + 1
    return training_bytes(patch, strides, batch=1, channels=channels, classes=classes)


def _normalization(fingerprint: Fingerprint, config: PlanConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if config.normalization:
        return config.normalization, (f"Normalisation {', '.join(config.normalization)}: as asked.",)
    kinds = tuple("ct" if channel.hounsfield else "zscore" for channel in fingerprint.channels)
    return kinds, tuple(_normalization_reason(channel) for channel in fingerprint.channels)


def _normalization_reason(channel: ChannelFingerprint) -> str:
    if not channel.hounsfield:
        return f"Channel {channel.name}: zscore, each case by its own mean and deviation, for it is not known to be CT."
    named = channel.hounsfield == "name"
    sign = "it is called CT" if named else "all cases hold whole numbers, some below -500, as Hounsfield units do"
    return (
        f"Channel {channel.name}: ct, for {sign}; clipped to {channel.p00_5:.4g} .. {channel.p99_5:.4g}, where 99 % of "
        "the foreground lies."
    )


def _intensities(fingerprint: Fingerprint) -> tuple[float, ...]:
    return flatten(
        tuple(Intensity(low=each.p00_5, high=each.p99_5, mean=each.mean, std=each.std) for each in fingerprint.channels)
    )


def _millimetres(spacing: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing) + " mm"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
