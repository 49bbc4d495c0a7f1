"""Commits with the bytes that they added, and which of them are worth measuring on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.duplicates import find_copies
from omniform_codegen.filters import LARGEST, fault, licence_fault, secrets_of
from omniform_codegen.folders import only_sources
from omniform_codegen.git import Git
from omniform_codegen.licences import identify, nearest
from omniform_codegen.revisions import Revision, added_lines, blobs_changed, list_tree
from omniform_codegen.secrets import WORD, Finding, redact

__all__ = ["Change", "Commit", "filter_commits", "read_commits"]

Ranges = tuple[tuple[int, int], ...]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A file as a commit left it.

    Attributes:
        path: relative to the repository, with forward slashes.
        content: the whole file's bytes after the commit.
        added: ranges `start, stop` of bytes of `content`, whole lines in order, that the commit added or rewrote.
    """

    path: str
    content: bytes
    added: Ranges


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; merges are none, for what they bring is in the commits that they merge.

    Attributes:
        sha: its name in git.
        time: seconds since 1970 of the committer's clock.
        author: a hash of the author's address; neither name nor address is kept.
        changes: the files to which it added lines, in order of their paths; there is at least one.
    """

    sha: str
    time: int
    author: str
    changes: tuple[Change, ...]


def read_commits(git: Git, revisions: Sequence[Revision], suffixes: tuple[str, ...]) -> tuple[Commit, ...]:
    """Return the commits that add lines to text files, with these files.

    Raises:
        DataError: the clone lacks contents.
    """
    shas = [one.sha for one in revisions]
    changed = blobs_changed(git, shas, suffixes)
    paths = {blob.path for blobs in changed.values() for blob in blobs}
    sources = set(only_sources(paths | {blob.path for blob in list_tree(git, "HEAD")}))
    contents = git.contents((blob.name for blobs in changed.values() for blob in blobs), largest=LARGEST)
    lines = added_lines(git, shas, suffixes)
    commits = []
    for one in revisions:
        blobs = [blob for blob in changed.get(one.sha, ()) if blob.path in sources and blob.name in contents]
        changes = [
            Change(
                blob.path, contents[blob.name], _ranges(contents[blob.name], lines.get((blob.before, blob.name), []))
            )
            for blob in sorted(blobs, key=lambda blob: blob.path)
            if b"\0" not in contents[blob.name]
        ]
        if changes := tuple(change for change in changes if change.added):
            commits.append(Commit(one.sha, one.time, one.author, changes))
    return tuple(commits)


def filter_commits(
    commits: Sequence[Commit], train: Corpus, notices: Mapping[str, str], config: CompleteConfig
) -> tuple[Commit, ...]:
    """Return the commits with the changes that pass the filters; how many do not, and why, is logged once.

    Args:
        train: files of which later ones must be no copies.
        notices: the licences of folders.

    Raises:
        DataError: secrets are refused.
    """
    copies = _copies(commits, train)
    reasons: Counter[str] = Counter()
    kept = []
    for commit in commits:
        changes = []
        for change in commit.changes:
            reason = _fault(change, notices, config) or (
                "copied from training files" if change.content in copies else None
            )
            findings = () if reason else secrets_of(SourceFile(change.path, change.content, ""), config)
            if findings and config.secrets == "drop":
                reason = "with secrets"
            if reason:
                reasons[reason] += 1
            else:
                changes.append(_redacted(change, findings) if findings else change)
        if changes:
            kept.append(replace(commit, changes=tuple(changes)))
    if reasons:
        listed = ", ".join(f"{count} {name}" for name, count in reasons.most_common())
        _log.warning("left out %d changes of later commits: %s", reasons.total(), listed)
    return tuple(kept)


def _ranges(content: bytes, hunks: Iterable[tuple[int, int]]) -> Ranges:
    """Return byte ranges of lines `first, count` from 1."""
    ends = [0, *accumulate(len(line) + 1 for line in content.split(b"\n"))]
    ends[-1] = len(content)
    return tuple((ends[first - 1], ends[first - 1 + count]) for first, count in hunks if count)


def _copies(commits: Sequence[Commit], train: Corpus) -> set[bytes]:
    """Return the contents that training files have too, and those of new files that are nearly such."""
    past = [file.content for file in train.files]
    new = [change.content for commit in commits for change in commit.changes if _is_new(change)]
    near = {new[place - len(past)] for place, other in find_copies([*past, *new]).items() if other < len(past) <= place}
    return near | set(past)


def _is_new(change: Change) -> bool:
    return change.added == ((0, len(change.content)),)


def _fault(change: Change, notices: Mapping[str, str], config: CompleteConfig) -> str | None:
    licence = (identify(change.content) or nearest(change.path, notices)) if config.licences else None
    return fault(change.content, config) or licence_fault(licence, config)


def _redacted(change: Change, findings: Sequence[Finding]) -> Change:
    added = tuple((_moved(start, findings), _moved(stop, findings, after=True)) for start, stop in change.added)
    return replace(change, content=redact(change.content, findings), added=added)


def _moved(place: int, findings: Sequence[Finding], *, after: bool = False) -> int:
    """Return where a place lies once secrets are words; one inside of a secret lies before the word, or `after` it."""
    shift = 0
    for finding in findings:
        if finding.stop <= place:
            shift += len(WORD) - (finding.stop - finding.start)
        elif finding.start < place:
            return finding.start + shift + len(WORD) * after
    return place + shift
