"""Splitting cases: a patient is in one part, an official test set stays one."""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np

from omniform.configuration import split_names
from omniform.errors import ConfigError, DataError
from omniform.plugins import suggest
from omniform.task import Splits
from omniform_medical.cohort import Cohort
from omniform_medical.config import CohortConfig
from omniform_medical.layouts.listing import some

__all__ = ["patients", "split_cohort"]

_SEED = 0
_DEFAULT_TEST = next(field.default for field in fields(CohortConfig) if field.name == "test")


def split_cohort(cohort: Cohort, config: CohortConfig) -> Splits[Cohort]:
    """Put every case into one part.

    The test is `cohort.held_out` if there are any and `config.test` is as by default, else what `config.test` says. The
    patients that are left are cut at random, always alike, into `config.folds` parts of as many patients, give or take
    one: part `config.fold` validates, the others train. A patient of whom any case is for testing is for testing whole.

    Raises:
        DataError: a part would be empty, or a name tells no patient.
        ConfigError: `config.test` or `config.group` cannot be read.
    """
    owners = np.array(patients(cohort, config.group), dtype=object)
    testing = np.isin(owners, owners[_tests(cohort, config.test)])
    # the order of the cases, sorted by name, is that of the patients; the stream of RandomState never changes
    rest = list(dict.fromkeys(owners[~testing]))
    if len(rest) < config.folds:
        raise DataError(
            f"expected at least {config.folds} patients for --folds {config.folds} besides the {int(testing.sum())} "
            f"cases to test on, got {len(rest)}; give fewer --folds, test on less, or add cases"
        )
    order = np.random.RandomState(_SEED).permutation(len(rest))
    chosen = {rest[place] for place in np.array_split(order, config.folds)[config.fold]}
    validating = np.array([owner in chosen for owner in owners]) & ~testing
    parts = (~testing & ~validating, validating, testing)
    return Splits(*(cohort.take(np.flatnonzero(part)) for part in parts))


def patients(cohort: Cohort, pattern: str) -> list[str]:
    """Return the patient of every case: where a pattern matches its name, or its first group there; else its name.

    Raises:
        ConfigError: the pattern is no regular expression.
        DataError: a name has no match, or an empty one.
    """
    names = [case.name for case in cohort.cases]
    if not pattern:
        return names
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"expected --group to be a regular expression, got {pattern!r}: {error}") from None
    found = [match and (match[1] if expression.groups else match[0]) for match in map(expression.search, names)]
    if strangers := [name for name, patient in zip(names, found, strict=True) if not patient]:
        raise DataError(f"--group {pattern!r} finds no patient in the names of the cases {some(strangers)}")
    return [patient for patient in found if patient]


def _tests(cohort: Cohort, wanted: str) -> list[int]:
    """Return the places of the cases to test on; there is at least one."""
    names = [case.name for case in cohort.cases]
    if wanted == _DEFAULT_TEST and (held := [i for i, name in enumerate(names) if name in cohort.held_out]):
        return held
    if (share := _share(wanted)) is not None and wanted not in names:
        return list(range(len(names) - max(1, round(share * len(names))), len(names)))
    chosen = [name for name in split_names(wanted) if name]
    if not chosen:
        raise ConfigError("expected --test to be a share such as 0.2, or names of cases; got nothing")
    places = {name: i for i, name in enumerate(names)}
    for name in chosen:
        if name not in places:
            raise ConfigError(
                f"--test: expected a share above 0 and below 1, or cases; got {name!r}; {_near(name, names)}"
            )
    return sorted({places[name] for name in chosen})


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 < share < 1 else None


def _near(name: str, names: list[str]) -> str:
    told = suggest(name, names)
    return told if told.startswith("did") else f"cases are {some(names)}"
