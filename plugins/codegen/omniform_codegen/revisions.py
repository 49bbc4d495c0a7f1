"""What git says of commits: their order, the files of their trees, and the lines that they added."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from omniform_codegen.folders import has_suffix
from omniform_codegen.git import Git

__all__ = [
    "Blob",
    "Revision",
    "added_lines",
    "blobs_changed",
    "list_mainline",
    "list_revisions",
    "list_tree",
    "name_author",
]

_FILES = ("100644", "100755")  # neither links nor submodules
_HUNK = re.compile(rb"@@ -\S+ \+(\d+)(?:,(\d+))? @@")
_INDEX = re.compile(rb"index ([0-9a-f]+)\.\.([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit without its files; `place` is that in the order of time in which parents come before children."""

    sha: str
    place: int
    time: int
    author: str
    merges: bool


@dataclass(frozen=True, slots=True)
class Blob:
    """A file in a tree, or as a commit left it; `before` is the blob that it replaced, zeros for a new file."""

    path: str
    name: str
    before: str = ""


def name_author(address: str) -> str:
    """Return the hash that stands for an author's address."""
    return hashlib.sha256(address.strip().lower().encode("utf-8", "replace")).hexdigest()[:16]


def list_revisions(git: Git) -> list[Revision]:
    """Return all commits that lead to the checked-out one, oldest first; without those where a shallow clone ends.

    Raises:
        DataError: there is no commit.
    """
    git.ask("rev-parse", "--verify", "HEAD^{commit}")
    shallow = git.ask("rev-parse", "--is-shallow-repository").strip() == b"true"
    text = git.ask("rev-list", "--date-order", "--reverse", "--format=%H%x09%ct%x09%P%x09%ae", "HEAD", "--")
    lines = [line for line in text.decode("utf-8", "replace").split("\n") if line and not line.startswith("commit ")]
    revisions = []
    for place, line in enumerate(lines):
        sha, time, parents, address = line.split("\t", 3)
        if parents or not shallow:
            revisions.append(Revision(sha, place, int(time), name_author(address), " " in parents))
    return revisions


def list_mainline(git: Git) -> list[str]:
    """Return the commits of the checked-out branch itself, oldest first: of a merge, the first parent."""
    return git.ask("rev-list", "--first-parent", "--reverse", "HEAD", "--").decode().split()


def list_tree(git: Git, sha: str) -> list[Blob]:
    """Return the files of a commit's tree."""
    blobs = []
    for entry in filter(None, git.ask("ls-tree", "-r", "-z", "--full-tree", sha).split(b"\0")):
        head, _, path = entry.partition(b"\t")
        mode, _, name = head.decode().split()
        if mode in _FILES:
            blobs.append(Blob(_text(path), name))
    return blobs


def blobs_changed(git: Git, shas: Sequence[str], suffixes: tuple[str, ...]) -> Mapping[str, list[Blob]]:
    """Return for each commit the files that it added or rewrote, compared with its first parent."""
    words = git.ask(
        *("diff-tree", "--stdin", "-r", "--root", "--raw", "-z", "--no-abbrev", "-M", "--diff-filter=AMRT"),
        *("--", *_pathspecs(suffixes)),
        stdin=_lines(shas),
    ).split(b"\0")
    changed: defaultdict[str, list[Blob]] = defaultdict(list)
    sha, rest = "", iter(words)
    for word in rest:
        if not word.startswith(b":"):
            sha = word.strip().decode()
            continue
        _, mode, before, name, status = word.decode().split()
        path = _text(next(rest))
        if status.startswith("R"):
            path = _text(next(rest))
        if mode in _FILES and before != name and has_suffix(path, suffixes):
            changed[sha].append(Blob(path, name, before))
    return changed


def added_lines(
    git: Git, shas: Sequence[str], suffixes: tuple[str, ...]
) -> Mapping[tuple[str, str], list[tuple[int, int]]]:
    """Return which lines, `first, count` from 1, a blob has that the blob which it replaced has not."""
    patch = git.ask(
        *(
            "diff-tree",
            "--stdin",
            "-r",
            "--root",
            "-p",
            "-U0",
            "--inter-hunk-context=0",
            "--full-index",
            "--text",
            "-M",
        ),
        *("--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=histogram", "--", *_pathspecs(suffixes)),
        stdin=_lines(shas),
    )
    added: dict[tuple[str, str], list[tuple[int, int]]] = {}
    hunks: list[tuple[int, int]] = []
    for line in patch.split(b"\n"):  # a file's own lines begin with a sign, so that none is taken for what git says
        if match := _INDEX.match(line):
            added[match[1].decode(), match[2].decode()] = hunks = []
        elif match := _HUNK.match(line):
            hunks.append((int(match[1]), int(match[2] or 1)))
    return added


def _pathspecs(suffixes: Iterable[str]) -> list[str]:
    return [":(top,icase)*" + re.sub(r"([*?\[\]\\])", r"\\\1", suffix) for suffix in suffixes]


def _lines(shas: Iterable[str]) -> bytes:
    return "".join(f"{sha}\n" for sha in shas).encode()


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
