"""What is wrong with a cohort, found before anything is trained on it: every case is read once.

K = classes, C = channels
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from omniform.errors import DataError
from omniform_medical.case import Volume
from omniform_medical.cohort import Cohort
from omniform_medical.layouts.listing import some

__all__ = ["Finding", "Measure", "Survey", "check_cohort", "refuse", "survey_cohort"]

_COARSER = 4.0  # times the usual spacing
_SCALE = 30.0  # times the usual contrast, at least ...
_SPREADS = 8.0  # ... and so many robust standard deviations of its logarithm


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know of a case, or of all where `case` is empty; an error keeps one from training."""

    case: str
    severity: Literal["error", "warning"]
    text: str

    def __str__(self) -> str:
        return f"case {self.case!r}: {self.text}" if self.case else self.text


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """What is kept of a case that was read.

    Attributes:
        shape: voxels along each axis of the file.
        spacing: millimetres along them.
        contrasts: `(C,)` standard deviation of every channel.
        counts: `(K,)` voxels of each class, `None` without a label.
        voxel_volume: in millilitres.
        digest: of all voxels of the image.
    """

    case: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    contrasts: np.ndarray
    counts: np.ndarray | None
    voxel_volume: float
    digest: bytes


@dataclass(frozen=True, slots=True)
class Survey:
    """Measures of the cases that could be read, and what was found."""

    measures: tuple[Measure, ...]
    findings: tuple[Finding, ...]


def check_cohort(cohort: Cohort, *, progress: Callable[[int, int], None] | None = None) -> tuple[Finding, ...]:
    """Return what is wrong with a cohort; see `survey_cohort`."""
    return survey_cohort(cohort, progress=progress).findings


def survey_cohort(cohort: Cohort, *, progress: Callable[[int, int], None] | None = None) -> Survey:
    """Read every case once; `progress` is told how many of how many are done.

    | finding | severity |
    | --- | --- |
    | a case that `Cohort.read` refuses | error |
    | an image that two cases have, for it may be in training and test both | error |
    | a class that no case has | error |
    | a label without foreground | warning |
    | a channel that is the same everywhere | warning |
    | a spacing that is at least 4 times the median, or a quarter | warning |
    | a channel that varies 30 times more or less than in other cases, as in another unit | warning |
    | a class that a single case has | warning |
    """
    measures: list[Measure] = []
    findings: list[Finding] = []
    for index, case in enumerate(cohort.cases):
        try:
            measures.append(_measure(case.name, cohort.read(index), len(cohort.labels)))
        except DataError as error:
            findings.append(Finding(case.name, "error", str(error).removeprefix(f"case {case.name!r}: ")))
        if progress is not None:
            progress(index + 1, len(cohort))
    findings += [
        *_repeated(measures),
        *_rare_classes(measures, cohort),
        *_empty(measures),
        *_constant(measures, cohort),
        *_coarse(measures),
        *_other_units(measures, cohort),
    ]
    return Survey(tuple(measures), tuple(findings))


def refuse(findings: Sequence[Finding]) -> None:
    """Refuse a cohort with errors.

    Raises:
        DataError: says the first error and how many more there are.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return
    more = f" (and {len(errors) - 1} more: omniform medical check DATA lists them)" if len(errors) > 1 else ""
    raise DataError(f"{errors[0]}{more}")


def _measure(name: str, volume: Volume, classes: int) -> Measure:
    return Measure(
        case=name,
        shape=volume.geometry.shape,
        spacing=volume.geometry.spacing,
        contrasts=_contrasts(volume.image),
        counts=None if volume.label is None else _counts(volume.label, classes),
        voxel_volume=volume.geometry.voxel_volume,
        digest=_digest(volume.image),
    )


# all plane by plane, because float64 and indices of a whole volume take more memory than the volume


def _contrasts(image: np.ndarray) -> np.ndarray:
    """Return the standard deviation of every channel; planes are of one size: variance within plus variance between."""
    planes = np.array([image[..., z].var(axis=(1, 2), dtype=np.float64) for z in range(image.shape[3])])  # (Z, C)
    means = np.array([image[..., z].mean(axis=(1, 2), dtype=np.float64) for z in range(image.shape[3])])
    return np.sqrt(planes.mean(axis=0) + means.var(axis=0))


def _counts(label: np.ndarray, classes: int) -> np.ndarray:
    return np.sum([np.bincount(label[..., z].ravel(), minlength=classes) for z in range(label.shape[2])], axis=0)


def _digest(image: np.ndarray) -> bytes:
    digest = hashlib.sha256(repr(image.shape).encode())
    for z in range(image.shape[3]):
        digest.update(image[..., z].tobytes())
    return digest.digest()


def _repeated(measures: Sequence[Measure]) -> Iterator[Finding]:
    alike: dict[bytes, list[str]] = defaultdict(list)
    for measure in measures:
        alike[measure.digest].append(measure.case)
    for first, *others in alike.values():
        for name in others:
            text = f"its image is that of the case {first!r}, so that one may be trained and the other tested on"
            yield Finding(name, "error", f"{text}; remove one of them")


def _rare_classes(measures: Sequence[Measure], cohort: Cohort) -> Iterator[Finding]:
    if len(measures) < len(cohort) or any(measure.counts is None for measure in measures):
        return  # what cannot be read may have them
    having = [[m.case for m in measures if m.counts is not None and m.counts[k]] for k in range(len(cohort.labels))]
    for name, value, cases in zip(cohort.labels[1:], cohort.values[1:], having[1:], strict=True):
        if not cases:
            text = f"no case has the class {name!r} ({value}); correct the files, or name their classes by --labels"
            yield Finding("", "error", text)
        elif len(cases) == 1 and len(measures) > 1:
            yield Finding(
                cases[0], "warning", f"no other case has the class {name!r}, so it is trained or tested on, not both"
            )


def _empty(measures: Sequence[Measure]) -> Iterator[Finding]:
    for measure in measures:
        if measure.counts is not None and not measure.counts[1:].any():
            yield Finding(measure.case, "warning", "its label is background everywhere")


def _constant(measures: Sequence[Measure], cohort: Cohort) -> Iterator[Finding]:
    for measure in measures:
        for name, contrast in zip(cohort.channels, measure.contrasts, strict=True):
            if contrast == 0:
                yield Finding(measure.case, "warning", f"its channel {name!r} has one value everywhere")


def _coarse(measures: Sequence[Measure]) -> Iterator[Finding]:
    if not measures:
        return
    # sorted, because files may have their axes in different orders
    spacings = np.sort([measure.spacing for measure in measures], axis=1)
    usual = np.median(spacings, axis=0)
    ratios = np.maximum(spacings / usual, usual / spacings).max(axis=1)
    for measure, ratio in zip(measures, ratios, strict=True):
        if ratio >= _COARSER:
            here, there = (" x ".join(f"{mm:.3g}" for mm in sorted(row)) for row in (measure.spacing, usual))
            yield Finding(measure.case, "warning", f"its spacing of {here} mm is far from the usual {there} mm")


def _other_units(measures: Sequence[Measure], cohort: Cohort) -> Iterator[Finding]:
    for channel, name in enumerate(cohort.channels):
        varied = [measure for measure in measures if measure.contrasts[channel] > 0]
        if not varied:
            continue
        logs = np.log([measure.contrasts[channel] for measure in varied])
        usual = np.median(logs)
        spread = 1.4826 * np.median(np.abs(logs - usual))
        far = np.abs(logs - usual) > max(np.log(_SCALE), _SPREADS * spread)
        if far.any():
            cases = some(measure.case for measure, strange in zip(varied, far, strict=True) if strange)
            text = f"the channel {name!r} varies {_SCALE:g} times more or less than usual in {cases}"
            yield Finding("", "warning", f"{text}; is their unit another?")
