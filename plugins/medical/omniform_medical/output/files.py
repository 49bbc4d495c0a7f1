"""Files and folders that come whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from omniform.errors import ConfigError

__all__ = ["replaced", "replaced_folder"]


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, of the same name's ending, that takes its place when all is written."""
    with replaced_folder(path.parent, path.name) as folder:
        yield folder / path.name


@contextmanager
def replaced_folder(path: Path, label: str = "") -> Iterator[Path]:
    """Yield an empty folder whose files move into `path` when all are written; others that are there stay.

    Raises:
        ConfigError: `path` is a file.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"expected a folder to write to, {path.name!r} is a file; name another or take it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path if path.is_dir() else path.parent
    with TemporaryDirectory(dir=place, prefix=f".{label or path.name}.") as parent:
        part = Path(parent, "whole")
        part.mkdir()  # with the usual permissions, which the temporary one lacks
        yield part
        if not path.exists():
            os.replace(part, path)
            return
        for file in sorted(part.iterdir()):
            os.replace(file, path / file.name)
