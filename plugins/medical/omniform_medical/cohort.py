"""The cases of a data set, whose files are read when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from omniform.configuration import split_names
from omniform.errors import ConfigError, DataError
from omniform_medical.case import Case, Volume, read_volume
from omniform_medical.config import CohortConfig
from omniform_medical.layouts import Listing, find_labels, list_folder, list_inputs, parse_labels
from omniform_medical.sample import load_sample

__all__ = ["Case", "Cohort", "Volume", "read_cohort", "read_inputs"]

_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Cohort:
    """Cases with the same channels and labels.

    Attributes:
        source: what it was read from, for messages.
        cases: sorted by name.
        channels: names of the channels.
        labels: names of the classes; 0 is the background.
        values: what stands for each class in the files' voxels, `values[0]` the background.
        held_out: names of the cases that the data set itself keeps for testing.
    """

    source: str
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    values: tuple[int, ...]
    held_out: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, indices: Sequence[int] | np.ndarray) -> Cohort:
        """Return the cohort of these cases."""
        return replace(self, cases=tuple(self.cases[int(index)] for index in indices))

    def read(self, index: int) -> Volume:
        """Read the files of a case.

        Raises:
            DataError: a file cannot be read, its channels or labels do not lie on one grid, or a label has a value
                that stands for no class.
        """
        return read_volume(self.cases[index], self.labels, self.values)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of names, labels and the bytes of all files."""
        digest = hashlib.sha256(repr((self.channels, self.labels, self.values)).encode())
        for case in self.cases:
            digest.update(repr((case.name, len(case.images), case.label is not None)).encode())
            for path in (*case.images, *([case.label] if case.label else [])):
                for file in _files(path):
                    digest.update(_digest(file))
        return digest.hexdigest()


def read_cohort(source: str | Path, config: CohortConfig) -> Cohort:
    """List the cases of a data set; voxels are read later, except where only they tell which labels there are.

    `source` is `"sample"`, or a folder in one of the layouts that `omniform_medical.layouts` describes. `config.labels`
    and `config.channels` overrule what the data set says of itself.

    Raises:
        DataError: the folder has none of the layouts, a case lacks its label or a channel, or the number of channels is
            not what was said.
        ConfigError: `config.labels` or `config.channels` cannot be read.
    """
    listing = load_sample() if str(source) == "sample" else list_folder(Path(source))
    names, values = parse_labels(config.labels) if config.labels else listing.labels or find_labels(listing.cases)
    return Cohort(
        source=str(source),
        cases=listing.cases,
        channels=_channels(listing, config.channels),
        labels=names,
        values=values,
        held_out=listing.held_out,
    )


def read_inputs(
    source: str | Path, channels: tuple[str, ...], labels: tuple[str, ...], values: tuple[int, ...]
) -> Cohort:
    """List what a trained run is to predict from: cases with the channels it knows; labels are not looked at.

    `source` is a file, a DICOM folder or archive (one case each), a folder of files, a data set in one of the layouts,
    or `"sample"`. A case is called after its file or folder, never after anything inside.

    Raises:
        DataError: there is nothing to read, or a case lacks a channel.
    """
    if str(source) == "sample":
        cases = tuple(replace(case, label=None) for case in load_sample().cases)
    else:
        cases = list_inputs(Path(source), channels)
    return Cohort(source=str(source), cases=cases, channels=channels, labels=labels, values=values)


def _channels(listing: Listing, wanted: str) -> tuple[str, ...]:
    count = len(listing.cases[0].images)
    for case in listing.cases:
        if len(case.images) != count:
            first = listing.cases[0].name
            raise DataError(f"case {case.name!r} has {len(case.images)} channels, case {first!r} has {count}")
    given = split_names(wanted) if wanted else listing.channels
    if given is None:
        return ("image",) if count == 1 else tuple(f"channel {i}" for i in range(count))
    if len(given) != count:
        fault = ConfigError if wanted else DataError
        raise fault(f"expected a name for each of the {count} channels that cases have, got {', '.join(given)}")
    return given


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, those beside it that a `.mhd` may refer to, or all files below a DICOM folder; sorted by name."""
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    elif path.suffix.lower() == ".mhd":
        yield from sorted(file for file in path.parent.iterdir() if file.stem == path.stem)
    else:
        yield path


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror})") from error
    return digest.digest()
