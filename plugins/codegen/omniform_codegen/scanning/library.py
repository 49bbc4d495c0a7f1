"""Real code around and instead of templates: the Python standard library on disk."""

from __future__ import annotations

import os
import re
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from omniform.errors import DataError
from omniform_codegen.scanning.statements import statements
from omniform_codegen.spans import syntax_tree

__all__ = ["LibraryFile", "library_files"]

_BLOCK = re.compile(rb"^(?:async )?(?:def|class) .*?(?=^[\w@]|\Z)", re.MULTILINE | re.DOTALL)
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "turtledemo", "ensurepip"}
_UNKNOWN = re.compile(  # what might be weak in a statement that nobody has labelled
    rb"(?i)eval|exec|compile|system|popen|spawn|subprocess|shell|pickle|marshal|shelve|load|md5|sha1|hashlib|random|te?mp"
    rb"|chmod|umask|mode|open|verif|ssl|cert|xml|expat|sax|passw|secret|token|auth|key|assert|debug|urlopen|extract|redirect"
    rb"|template|html|log|print"
)
_SMALLEST, _LARGEST, _BLOCK_SIZE = 2_000, 60_000, 700


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """One file.

    Attributes:
        blocks: its functions and classes of at most 700 bytes.
        harmless: the spans of statements that name nothing which might make them weak.
    """

    name: str
    code: bytes
    blocks: tuple[bytes, ...]
    harmless: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, path: Path, name: str) -> LibraryFile:
        code = path.read_bytes()
        blocks = (match.group().rstrip() + b"\n\n\n" for match in _BLOCK.finditer(code))
        spans = ((start, end) for start, end in statements(code) if end - start > 3)
        return cls(
            name,
            code,
            tuple(block for block in blocks if len(block) <= _BLOCK_SIZE and syntax_tree(block) is not None),
            tuple(span for span in spans if not _UNKNOWN.search(code, *span)),
        )


@cache
def library_files(most: int = 160) -> tuple[LibraryFile, ...]:
    """Return files of middling size, evenly spread over the sorted names.

    Raises:
        DataError: this Python has no library as source files.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(set(inner) - _LEFT_OUT)
        paths += [Path(folder, name) for name in sorted(names) if name.endswith(".py")]
    paths = [path for path in paths if _SMALLEST <= path.stat().st_size <= _LARGEST]
    if len(paths) < 30:
        raise DataError(f"expected the standard library as source files in {root}, got {len(paths)}; use your own data")
    chosen = np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)
    return tuple(LibraryFile.read(paths[i], paths[i].relative_to(root).as_posix()) for i in chosen)
