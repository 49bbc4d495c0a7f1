"""The files of a bundle, in a folder or a zip archive, read one by one and never unpacked."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniform.errors import DataError

__all__ = ["BundleFiles"]

_METADATA = "configs/metadata.json"
_MOST_JSON = 16 * 2**20
_MOST_WEIGHTS = 8 * 2**30


class BundleFiles:
    """What lies in a bundle.

    In an archive the bundle may lie within a folder. Names of members are compared and never used as paths.

    Raises:
        DataError: `path` is neither, or holds no or several bundles; a member of an archive leads out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._prefix = ""
        if path.is_dir():
            self._names = None
            if not (path / _METADATA).is_file():
                raise DataError(f"expected a MONAI bundle with {_METADATA} in {path.name!r}; name the bundle's folder")
            return
        try:
            with zipfile.ZipFile(path) as archive:
                self._names = frozenset(archive.namelist())
        except (OSError, zipfile.BadZipFile, ValueError):
            raise DataError(f"expected a MONAI bundle as a folder or zip archive, got {path.name!r}") from None
        self._prefix = _prefix(self._names, path.name)

    def __contains__(self, name: str) -> bool:
        return (self.path / name).is_file() if self._names is None else self._prefix + name in self._names

    def read(self, name: str, *, limit: int = _MOST_WEIGHTS) -> bytes:
        """Return the content of a file.

        Raises:
            DataError: it is missing, broken or larger than `limit`.
        """
        if name not in self:
            raise DataError(f"expected {name} in the bundle {self.path.name!r}, but it is missing")
        try:
            content = self._read(name, limit)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
            raise DataError(f"{name} in the bundle {self.path.name!r} cannot be read; copy the bundle anew") from None
        if len(content) > limit:
            raise DataError(f"expected {name} in {self.path.name!r} of at most {limit >> 20} MiB; do not trust it")
        return content

    def read_json(self, name: str) -> Mapping[str, Any]:
        """Return the object in a JSON file.

        Raises:
            DataError: it is missing or not a JSON object.
        """
        try:
            value = json.loads(self.read(name, limit=_MOST_JSON))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, Mapping):
            raise DataError(f"expected a JSON object in {name} of {self.path.name!r}, got something else")
        return value

    def _read(self, name: str, limit: int) -> bytes:
        if self._names is None:
            with (self.path / name).open("rb") as file:
                return file.read(limit + 1)
        with zipfile.ZipFile(self.path) as archive, archive.open(self._prefix + name) as member:
            return member.read(limit + 1)


def _prefix(names: frozenset[str], archive: str) -> str:
    """Return what stands before the bundle's own names."""
    for name in names:
        path = name.replace("\\", "/")
        if path.startswith("/") or ".." in path.split("/") or path[1:2] == ":":
            raise DataError(f"a file in {archive!r} leads out of the archive; do not trust it")
    found = [name for name in names if name == _METADATA or name.endswith(f"/{_METADATA}")]
    if len(found) != 1:
        raise DataError(f"expected one MONAI bundle with {_METADATA} in {archive!r}, found {len(found)}")
    return found[0][: -len(_METADATA)]
