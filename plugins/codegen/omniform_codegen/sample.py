"""The embedded sample: the Python standard library, as it lies on the disk of whoever runs this."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

from omniform.errors import DataError
from omniform_codegen.folders import walk

__all__ = ["LICENCE", "sample_files"]

LICENCE = "PSF-2.0"
"""The licence of the standard library, but for files that state another."""

_TESTS = ("test", "tests", "idle_test")
_LEAST = 100  # modules; where there are fewer, they lie in an archive or were left out by whoever packed Python


def sample_files() -> Iterator[tuple[str, Path]]:
    """Yield `(path, file)` of the standard library without its tests and without what was installed.

    Raises:
        DataError: its source is not on this disk.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = list(walk(root, besides=_TESTS)) if root.is_dir() else []
    if sum(path.endswith(".py") for path, _ in files) < _LEAST:
        raise DataError("this Python comes without the source of its standard library; name a folder of code instead")
    yield from files
