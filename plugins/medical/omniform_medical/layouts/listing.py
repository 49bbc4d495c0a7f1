"""What a folder holds, before any voxel is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from omniform.errors import DataError
from omniform_medical.case import Case

__all__ = ["Labels", "Listing", "some"]

Labels = tuple[tuple[str, ...], tuple[int, ...]]
"""Names of the classes, and the value that stands for each in files; the background first."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The labelled cases of a data set.

    Attributes:
        source: the folder, for messages.
        cases: sorted by name.
        held_out: names of the cases of its own test set.
        channels: their names, if the data set gives any.
        labels: if the data set names them.

    Raises:
        DataError: there is no case, or two have one name.
    """

    source: str
    cases: tuple[Case, ...]
    held_out: frozenset[str] = frozenset()
    channels: tuple[str, ...] | None = None
    labels: Labels | None = None

    def __post_init__(self) -> None:
        if not self.cases:
            raise DataError(f"{self.source!r}: expected at least one image with its label, got none")
        counts = Counter(case.name for case in self.cases)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise DataError(f"{self.source!r}: expected a name of its own for every case, got {some(twice)} twice")
        object.__setattr__(self, "cases", tuple(sorted(self.cases, key=lambda case: case.name)))


def some(names: Iterable[str]) -> str:
    """Say the first three names and how many more there are."""
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
