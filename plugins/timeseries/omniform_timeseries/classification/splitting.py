"""Splitting cases: an official test set stays one, and every class has its share in every part."""

from __future__ import annotations

import numpy as np

from omniform.configuration import split_names
from omniform.errors import DataError
from omniform.task import Splits
from omniform_timeseries.classification.collection import Collection
from omniform_timeseries.classification.config import ClassifyConfig

__all__ = ["classes_of", "split_collection"]


def classes_of(data: Collection) -> tuple[str, ...]:
    """Return the classes of the cases that are not held out, sorted.

    Raises:
        DataError: there are fewer than two.
    """
    labels = data.known_labels()
    classes = tuple(sorted({label for label, test in zip(labels, data.held_out, strict=True) if not test}))
    if len(classes) < 2:
        raise DataError(f"expected cases of at least two classes, got {', '.join(classes) or 'none'}")
    return classes


def split_collection(data: Collection, config: ClassifyConfig) -> Splits[Collection]:
    """Split cases at random, class by class, seeded by `config.split_seed` and the order of the cases.

    Cases that are held out are the test, whole; the others are then divided between training and validation in the
    proportion of these two shares. Every class has at least one case in every part that is drawn.

    Raises:
        DataError: a class has too few cases, or the test has a class that training lacks.
    """
    classes = classes_of(data) if config.classes is None else split_names(config.classes)
    labels = np.array(data.known_labels(), dtype=object)
    _refuse_strangers(data, classes)
    train, validation, test = config.shares()
    official = bool(data.held_out.any())
    shares = (train, validation) if official else (train, validation, test)
    rng = np.random.default_rng(config.split_seed)
    parts: list[list[int]] = [[] for _ in shares]
    for name in classes:
        cases = rng.permutation(np.flatnonzero((labels == name) & ~data.held_out))
        if len(cases) < len(shares):
            has = "no case" if len(cases) == 0 else "one case" if len(cases) == 1 else f"{len(cases)} cases"
            raise DataError(
                f"class {name!r} has {has} to train on, but every part needs one: expected at least {len(shares)}"
            )
        for part, drawn in zip(parts, np.split(cases, _borders(len(cases), shares)), strict=True):
            part.extend(drawn.tolist())
    if official:
        parts.append(np.flatnonzero(data.held_out).tolist())
    return Splits(*(data.take(sorted(part)) for part in parts))


def _borders(count: int, shares: tuple[float, ...]) -> list[int]:
    """Return where to cut: each part its share, rounded, but at least one case; training takes what is left."""
    others = [max(1, round(count * share / sum(shares))) for share in shares[1:]]
    while count - sum(others) < 1:
        others[others.index(max(others))] -= 1
    first = count - sum(others)
    return [first, first + others[0]][: len(others)]


def _refuse_strangers(data: Collection, classes: tuple[str, ...]) -> None:
    for name, label in zip(data.ids, data.known_labels(), strict=True):
        if label not in classes:
            raise DataError(f"case {name!r} is labelled {label!r}, which training does not know: {', '.join(classes)}")
