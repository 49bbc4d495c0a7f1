"""A data set in a zip archive, as a folder of the session."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from omniform.errors import DataError
from omniform_medical.layouts.pairs import image_folders
from omniform_medical.reading import unpacked
from omniform_medical.reading.formats import ending_of

__all__ = ["DataFolder", "unpack"]

_MANIFEST = "dataset.json"
_LARGEST_MANIFEST = 16 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class DataFolder:
    """What an archive held.

    Attributes:
        path: where the data set lies.
        folder: that it lies in, which is deleted with this.
    """

    path: Path
    folder: TemporaryDirectory[str]


def unpack(archive: Path, name: str) -> DataFolder | None:
    """Unpack a data set under the names of its files; `None` if it has no layout of one: it is an image then.

    What `reading.unpacked` refuses is refused, before any name in the archive is used.

    Args:
        name: what messages call the archive.

    Raises:
        DataError: the archive is not safe, or broken.
    """
    folder = TemporaryDirectory(prefix="omniform-", ignore_cleanup_errors=True)
    root = Path(folder.name, "data")
    root.mkdir()
    with unpacked(archive, name) as files, zipfile.ZipFile(archive) as packed:
        for number, member in enumerate(packed.infolist(), start=1):
            target = root / PurePosixPath(member.filename.replace("\\", "/"))
            file = files / f"{number:05d}{ending_of(member.filename)}"
            if file.exists():
                _place(file, target, name)
            elif target.name == _MANIFEST and "__MACOSX" not in target.parts:
                _write_manifest(packed, member, target, name)
    path = next((path for path in _outermost(root) if _is_data_set(path)), None)
    return None if path is None else DataFolder(path, folder)


def _place(file: Path, target: Path, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise DataError(f"{name!r} holds two files of one name; pack each once")
    shutil.move(file, target)


def _write_manifest(packed: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, name: str) -> None:
    if member.file_size > _LARGEST_MANIFEST:
        raise DataError(f"{name!r} holds a {_MANIFEST} of {member.file_size / 2**20:.0f} MiB, expected a short list")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(packed.read(member))


def _outermost(root: Path) -> Iterator[Path]:
    """Yield the folder, and what it holds as long as that is one folder alone."""
    yield root
    while len(inside := list(root.iterdir())) == 1 and inside[0].is_dir():
        root = inside[0]
        yield root


def _is_data_set(path: Path) -> bool:
    return (path / _MANIFEST).is_file() or bool(image_folders(path))
