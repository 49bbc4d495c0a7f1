"""Files that hold volumes, and the names of cases and channels in theirs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from omniform.errors import DataError
from omniform_medical.layouts.listing import some
from omniform_medical.reading.formats import is_image, strip_ending

__all__ = ["has_channel", "join_channels", "list_volumes", "without_channel"]

_CHANNEL = re.compile(r"_(\d{4})$")


def list_volumes(folder: Path) -> dict[str, Path]:
    """Return the volumes of a folder, folders of DICOM files among them, by their names without ending, sorted.

    Hidden files are left out, which covers the `._` companions that macOS leaves, and so are files of other formats.

    Raises:
        DataError: the folder cannot be listed, or two files differ in their endings alone.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and is_image(path))
    except OSError as error:
        raise DataError(f"the folder {str(folder)!r} cannot be listed ({error.strerror})") from error
    volumes: dict[str, Path] = {}
    for path in paths:
        name = path.name if path.is_dir() else strip_ending(path.name)
        if name in volumes:
            raise DataError(f"{str(folder)!r} has both {volumes[name].name!r} and {path.name!r}; keep one of them")
        volumes[name] = path
    return volumes


def has_channel(name: str) -> bool:
    """Tell whether a name ends with the number of a channel, as in `CASE_0000`."""
    return _CHANNEL.search(name) is not None


def without_channel(name: str) -> str:
    """Return `CASE` of `CASE_0000`."""
    return _CHANNEL.sub("", name)


def join_channels(volumes: Mapping[str, Path], where: str) -> dict[str, tuple[Path, ...]]:
    """Put the channels `CASE_0000`, `CASE_0001`, ... of every case together; `where` is for messages.

    Raises:
        DataError: a name has no number, or a case lacks a channel.
    """
    if bare := [path.name for name, path in volumes.items() if not has_channel(name)]:
        raise DataError(
            f"{where!r}: expected images called CASE_0000, CASE_0001, ... after their channels, got {some(bare)}"
        )
    cases: dict[str, list[Path]] = defaultdict(list)
    count = 1 + max((int(name[-4:]) for name in volumes), default=0)
    for name in sorted(volumes):
        cases[without_channel(name)].append(volumes[name])
    for case in cases:
        for channel in range(count):
            if f"{case}_{channel:04}" not in volumes:
                wanted = f"{case}_{channel:04}"
                raise DataError(f"{where!r}: case {case!r} has no channel {channel}; expected a file {wanted!r}")
    return {case: tuple(paths) for case, paths in cases.items()}
