"""Snippets: what stands before a cursor, and what the statement at the cursor brings.

N = snippets
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omniform_codegen.scanning.statements import Region

__all__ = ["Snippet", "Snippets"]


@dataclass(frozen=True, slots=True)
class Snippet:
    """Code that ends at a cursor.

    Attributes:
        code: its bytes, usually not parseable.
        label: the type of weakness that the last statement brings, as far as it is typed; `"safe"` if none; `None` if
            nobody said.
        group: what it was made from (a family of templates, a file); snippets of one group stay in one part of a split.
        name: the file.
        part: `"train"`, `"validation"` or `"test"` where the data says so.
        region: where in the file the last statement stands, of snippets that were cut from one.
    """

    code: bytes
    label: str | None = None
    group: str = ""
    name: str = ""
    part: str = ""
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Snippets:
    """Snippets in a fixed order; as items of a classification they have labels and groups."""

    items: tuple[Snippet, ...]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labelled(self) -> bool:
        """Whether every snippet has a label."""
        return all(item.label is not None for item in self.items)

    def take(self, places: Sequence[int] | np.ndarray) -> Snippets:
        """Return the snippets at these places."""
        return Snippets(tuple(self.items[place] for place in places))

    def targets(self, classes: tuple[str, ...]) -> np.ndarray:
        """Return the index of each label among `classes`, `(N,)`."""
        index = {name: place for place, name in enumerate(classes)}
        return np.array([index[item.label or ""] for item in self.items], dtype=np.int64)

    def groups(self) -> np.ndarray:
        """Return the number of each snippet's group, `(N,)`; one without a group is a group of its own."""
        names = [item.group or f"\0{place}" for place, item in enumerate(self.items)]
        order = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return np.array([order[name] for name in names], dtype=np.int64)

    def fingerprint(self) -> str:
        """Return a SHA-256 of codes, labels, groups, names and parts."""
        digest = hashlib.sha256()
        for item in self.items:
            for text in (item.code, *(t.encode() for t in (item.label or "", item.group, item.name, item.part))):
                digest.update(len(text).to_bytes(8, "little") + text)
        return digest.hexdigest()
