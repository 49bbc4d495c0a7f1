"""What commits added, as files with the places in them that are looked at.

F = files, C = commits, or packages where whole files are looked at
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.history import Change, Commit
from omniform_codegen.metrics import groups_of
from omniform_codegen.spans import Span

__all__ = ["Additions", "added_bytes", "draw_gaps", "gather", "thinned", "whole"]

_LINE = re.compile(rb"[^\s](?:[^\r\n]*[^\s])?")
_SHORTEST, _LONGEST = 4, 200  # bytes of a line that is worth asking for


@dataclass(frozen=True, slots=True)
class Additions:
    """The files that commits changed.

    Attributes:
        files: one for each change, as the commit left it.
        ranges: of each file, the bytes `start, stop` that were added.
        owners: (F,) the place of each file's commit or package.
        count: C.
    """

    files: Corpus
    ranges: tuple[tuple[tuple[int, int], ...], ...]
    owners: np.ndarray
    count: int


def gather(commits: Sequence[Commit]) -> Additions:
    """Put the changes of commits behind each other."""
    changes = [(place, commit, change) for place, commit in enumerate(commits) for change in commit.changes]
    files = tuple(SourceFile(change.path, change.content, commit.sha, commit.time) for _, commit, change in changes)
    owners = np.array([place for place, _, _ in changes], dtype=np.int64)
    return Additions(Corpus(files), tuple(change.added for _, _, change in changes), owners, len(commits))


def whole(corpus: Corpus, most: int) -> Additions:
    """Return files as if their packages had added them whole: all, or some evenly spread of about `most` bytes."""
    stride = max(1, -(-corpus.size // most))
    kept = corpus.take(range(0, len(corpus), stride))
    owners = groups_of(kept)
    return Additions(kept, tuple(((0, len(file.content)),) for file in kept.files), owners, int(owners.max()) + 1)


def added_bytes(commit: Commit) -> int:
    """Return how many bytes a commit added."""
    return sum(_size(change) for change in commit.changes)


def thinned(commits: Sequence[Commit], most: int) -> tuple[Commit, ...]:
    """Return the commits that added anything, or some evenly spread in time that added at most `most` bytes together.

    A commit that alone adds a quarter of that or more, such as an import of foreign code, is left out of a selection.
    """
    kept = [commit for commit in commits if added_bytes(commit)]
    if sum(map(added_bytes, kept)) <= most:
        return tuple(kept)
    kept = [commit for commit in kept if added_bytes(commit) <= most / 4]
    stride = 1
    while sum(map(added_bytes, kept[::stride])) > most:
        stride += 1
    return tuple(kept[::stride])


def draw_gaps(additions: Additions, *, count: int, seed: int) -> tuple[Span, ...]:
    """Draw at most `count` added lines of 4 to 200 bytes, without indentation; commits take turns in a random order."""
    rng = np.random.default_rng(seed)
    left: list[list[Span]] = [[] for _ in range(additions.count)]
    for place, (file, ranges) in enumerate(zip(additions.files.files, additions.ranges, strict=True)):
        for start, stop in ranges:
            found = (match.span() for match in _LINE.finditer(file.content, start, stop))
            left[additions.owners[place]] += [
                Span(place, *span, "line") for span in found if _SHORTEST <= span[1] - span[0] <= _LONGEST
            ]
    turns = [lines for lines in (left[commit] for commit in rng.permutation(additions.count)) if lines]
    taken: list[Span] = []
    while turns and len(taken) < count:
        for lines in turns[: count - len(taken)]:
            taken.append(lines.pop(int(rng.integers(len(lines)))))
        turns = [lines for lines in turns if lines]
    return tuple(sorted(taken, key=lambda span: (span.place, span.start)))


def _size(change: Change) -> int:
    return sum(stop - start for start, stop in change.added)
