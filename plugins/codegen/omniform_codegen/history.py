"""The commits of a local git repository in order of time, and a cut through them: what was, and what came later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omniform.errors import DataError
from omniform_codegen.commits import Change, Commit, filter_commits, read_commits
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.filters import LARGEST, Found, sift
from omniform_codegen.folders import group_of, has_suffix, only_sources, suffixes_of
from omniform_codegen.git import Git
from omniform_codegen.licences import identify, is_notice, nearest, notices_of
from omniform_codegen.revisions import Revision, blobs_changed, list_mainline, list_revisions, list_tree, name_author

__all__ = ["Change", "Commit", "History", "read_history", "split_history"]


@dataclass(frozen=True, slots=True)
class History:
    """Past and future of a repository.

    Attributes:
        train: the files as they stood at the cut.
        validation, test: commits after it, in order of time; nothing that they added was in the tree at the cut.
    """

    train: Corpus
    validation: tuple[Commit, ...]
    test: tuple[Commit, ...]


def read_history(
    repo: Path,
    *,
    suffixes: tuple[str, ...],
    since: int | None = None,
    author: str | None = None,
    limit: int | None = None,
) -> tuple[Commit, ...]:
    """Read the commits that lead to the checked-out one and add lines to files with these suffixes, oldest first.

    Binary files, those of over `LARGEST` bytes, and what `folders` leaves out are passed over.

    Args:
        since: seconds since 1970 before which commits are passed over.
        author: an address, or the hash of one: only this author's commits.
        limit: the newest so many commits are looked at.

    Raises:
        DataError: git is absent or cannot read the repository, or the clone lacks contents.
    """
    git = Git(Path(repo))
    revisions = [one for one in _written_by(list_revisions(git), author) if since is None or one.time >= since]
    return read_commits(git, revisions[-limit:] if limit else revisions, suffixes)


def split_history(
    repo: Path, shares: tuple[float, float, float], config: CompleteConfig, *, author: str | None = None
) -> History:
    """Cut the time of a repository, so that `shares` of its commits lie before, in validation and in test.

    Training files are those of the tree at the cut. Commits made before the cut that were merged after it are in no
    part. New files that are copies of training files are left out, and the filters of `config` hold for all parts.

    Args:
        author: an address, or the hash of one: later commits are this author's, training files those that this author
            touched before the cut.

    Raises:
        DataError: as `read_history`; there are fewer than three commits, or fewer than two after the cut.
    """
    git, suffixes = Git(Path(repo)), suffixes_of(config)
    revisions = list_revisions(git)
    changed = blobs_changed(git, [one.sha for one in revisions if not one.merges], suffixes)
    useful = [one for one in _written_by(revisions, author) if changed.get(one.sha)]
    if len(useful) < 3:
        raise DataError(_too_few(git, useful, author, config))
    count = min(max(1, round(shares[0] * len(useful))), len(useful) - 2)
    cut = _mainline_before(git, revisions, useful[count - 1])
    reached = set(git.ask("rev-list", cut.sha, "--").decode().split())
    known = {blob.path for one in useful if one.sha in reached for blob in changed[one.sha]} if author else None
    train, notices = _tree(git, cut, config, known)
    later = [one for one in useful if one.place > cut.place]  # none leads to the cut, for parents come first
    commits = filter_commits(read_commits(git, later, suffixes), train, notices, config)
    if len(commits) < 2:
        raise DataError(
            f"only {len(commits)} commits after the cut add lines that pass the filters; cut earlier or relax them"
        )
    middle = round(len(commits) * shares[1] / (shares[1] + shares[2]))
    middle = min(max(1, middle), len(commits) - 1)
    return History(train, commits[:middle], commits[middle:])


def _written_by(revisions: Iterable[Revision], author: str | None) -> list[Revision]:
    wanted = name_author(author) if author and "@" in author else author
    return [one for one in revisions if not one.merges and wanted in (None, one.author)]


def _too_few(git: Git, useful: Sequence[Revision], author: str | None, config: CompleteConfig) -> str:
    whose = " by this author" if author else ""
    said = f"expected at least 3 commits{whose} that change {config.suffixes} files, got {len(useful)}"
    if git.ask("rev-parse", "--is-shallow-repository").strip() == b"true":
        return f"{said} in a shallow clone; git fetch --unshallow brings the others"
    return f"{said}; give a repository with a longer history"


def _mainline_before(git: Git, revisions: Sequence[Revision], last: Revision) -> Revision:
    """Return the newest state of the branch itself that is no newer than a commit."""
    places = {one.sha: one for one in revisions}
    mainline = [places[sha] for sha in list_mainline(git) if sha in places]
    return max((one for one in mainline if one.place <= last.place), key=lambda one: one.place, default=mainline[0])


def _tree(git: Git, cut: Revision, config: CompleteConfig, known: set[str] | None) -> tuple[Corpus, Mapping[str, str]]:
    """Return the filtered files of a commit's tree, only `known` ones where given, and its folders' licences."""
    blobs = {blob.path: blob.name for blob in list_tree(git, cut.sha)}
    texts = [path for path in blobs if config.licences and is_notice(path.rpartition("/")[2])]
    paths = [
        path
        for path in only_sources(blobs)
        if has_suffix(path, suffixes_of(config)) and (known is None or path in known)
    ]
    contents = git.contents((blobs[path] for path in (*texts, *paths)), largest=LARGEST)
    notices = notices_of((path, contents[blobs[path]]) for path in texts if blobs[path] in contents)
    found = [
        Found(
            SourceFile(path, content, group_of(path, config.group_depth), cut.time),
            identify(content) or nearest(path, notices),
        )
        for path in paths
        if (content := contents.get(blobs[path])) is not None
    ]
    if not found:
        raise DataError(f"no file at the cut ends in {config.suffixes}; give a longer history, or other --suffixes")
    return sift(found, config), notices
