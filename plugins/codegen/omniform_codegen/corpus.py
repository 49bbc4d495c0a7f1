"""Source files, and how they belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Corpus", "SourceFile"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file.

    Attributes:
        path: relative to the corpus, with forward slashes.
        content: its bytes, of whatever encoding: nothing in this plugin needs them to be text.
        group: the package, repository or commit that it belongs to; files of one group stay in one part of a split.
        time: seconds since 1970 of the commit that brought it, where a history was read.
    """

    path: str
    content: bytes
    group: str
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files in a fixed order."""

    files: tuple[SourceFile, ...]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def size(self) -> int:
        """The number of bytes in all."""
        return sum(len(file.content) for file in self.files)

    def take(self, places: Sequence[int]) -> Corpus:
        """Return the files at these places."""
        return Corpus(tuple(self.files[place] for place in places))

    def fingerprint(self) -> str:
        """Return a SHA-256 of paths, groups and contents."""
        digest = hashlib.sha256()
        for file in self.files:
            for part in (file.path.encode(), file.group.encode(), file.content):
                digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()
