"""Which values of a label's voxels stand for which classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from unicodedata import normalize

import numpy as np

from omniform.configuration import join_names, split_names
from omniform.errors import ConfigError, DataError
from omniform_medical.case import MAX_CLASSES, MAX_VALUE, Case
from omniform_medical.layouts.listing import Labels, some

__all__ = ["find_labels", "format_labels", "in_order", "parse_labels", "whole_number"]


def parse_labels(text: str) -> Labels:
    """Read `0=background,1=anterior,2=posterior`.

    Raises:
        ConfigError: that is not what `text` is like.
    """
    named: dict[int, str] = {}
    for item in split_names(text):
        value, equals, name = (part.strip() for part in item.partition("="))
        number = whole_number(value)
        if not equals or number is None:
            raise ConfigError(f"expected --labels such as 0=background,1=tumour; got {item!r} in {text!r}")
        if number in named:
            raise ConfigError(f"expected one name for each value in --labels, got several for {number}")
        named[number] = name
    try:
        return in_order(named)
    except DataError as error:
        raise ConfigError(f"--labels: {error}") from None


def format_labels(labels: Sequence[str], values: Sequence[int]) -> str:
    """Write labels so that `parse_labels` reads them back."""
    return join_names(f"{value}={name}" for value, name in zip(values, labels, strict=True))


def whole_number(text: str) -> int | None:
    """Read a number from 0 to 999,999,999 without sign, `None` if it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def in_order(named: Mapping[int, str]) -> Labels:
    """Order classes by their values.

    Raises:
        DataError: 0, the background, is absent; there is nothing but background; a name is empty or occurs twice; there
            are too many classes; or a value is too large.
    """
    values = tuple(sorted(named))
    names = tuple(normalize("NFC", named[value].strip()) for value in values)
    if not values or values[0] != 0 or len(values) < 2:
        raise DataError(f"expected 0 for the background and at least one value above it, got {list(values)}")
    if not all(name and name.isprintable() for name in names) or len(set(names)) < len(names):
        raise DataError(f"expected a name of its own for every class, got {some(names)}")
    if len(names) > MAX_CLASSES:
        raise DataError(f"expected at most {MAX_CLASSES} classes, got {len(names)}")
    if values[-1] > MAX_VALUE:
        raise DataError(f"expected values up to {MAX_VALUE}, got {values[-1]}; write smaller ones into the files")
    return names, values


def find_labels(cases: Sequence[Case]) -> Labels:
    """Read the labels of all cases: the classes are the values they have, called by these.

    Raises:
        DataError: a label cannot be read, has negative values, or the values cannot be classes.
    """
    from omniform_medical.reading import read_label

    values = {0}
    for case in cases:
        if case.label is None:
            continue
        try:
            values.update(_distinct(read_label(case.label).array))
        except DataError as error:
            raise DataError(f"case {case.name!r}: {error}") from error
        if min(values) < 0:
            raise DataError(f"case {case.name!r}: the label has the value {min(values)}; expected values from 0 up")
        if len(values) > MAX_CLASSES:
            raise DataError(
                f"case {case.name!r}: more than {MAX_CLASSES} values by now; are these labels? name them by --labels"
            )
    return in_order({value: "background" if value == 0 else str(value) for value in values})


def _distinct(array: np.ndarray) -> set[int]:
    """Return the values of `(X, Y, Z)` integers; small ranges are ticked off, which is faster than sorting."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > MAX_VALUE:
        return set(np.unique(array).tolist())
    seen = np.zeros(high + 1, dtype=bool)
    for z in range(array.shape[2]):
        seen[array[..., z]] = True
    return set(np.flatnonzero(seen).tolist())
