"""Which files of a folder are somebody's source code: not hidden, installed, or built.

Left out are hidden files and folders, those of version control, installed packages, virtual environments and caches
that say so, and what a build put beside a project's file. Symbolic links are not followed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from omniform.configuration import split_names
from omniform.errors import ConfigError, DataError
from omniform_codegen.config import CompleteConfig

__all__ = ["group_of", "has_suffix", "only_sources", "suffixes_of", "walk"]

_INSTALLED = {
    "node_modules",
    "bower_components",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "__pypackages__",
    "CVS",
}
_BUILT = {"build", "dist", "target", "out", "_build", "htmlcov"}
_PROJECT = {
    *("pyproject.toml", "setup.py", "setup.cfg", "package.json", "Cargo.toml", "CMakeLists.txt", "Makefile", "conf.py"),
    *("pom.xml", "build.gradle", "build.gradle.kts", "go.mod", "meson.build"),
}
_MARKS = {"pyvenv.cfg", "CACHEDIR.TAG"}  # in a virtual environment, in a cache (bford.info/cachedir)


def suffixes_of(config: CompleteConfig) -> tuple[str, ...]:
    """Return the ends of names that are read.

    Raises:
        ConfigError: there is none.
    """
    suffixes = tuple(filter(None, split_names(config.suffixes)))
    if not suffixes:
        raise ConfigError(f"expected suffixes such as .py,.pyi; got {config.suffixes!r}")
    return suffixes


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a file's name ends so, in capitals or not."""
    return path.lower().endswith(tuple(suffix.lower() for suffix in suffixes))


def group_of(path: str, depth: int) -> str:
    """Return the group of a file: its top folders, so many; itself where it has fewer or `depth` is 0."""
    return "/".join(path.split("/")[:depth]) if depth else path


def walk(root: Path, *, besides: Collection[str] = ()) -> Iterator[tuple[str, Path]]:
    """Yield `(path, file)` of the files below `root`, sorted; `besides` names more folders to leave out.

    Raises:
        DataError: a folder cannot be listed.
    """
    found, folders = [], [("", root)]
    while folders:
        above, folder = folders.pop()
        entries = _entries(folder)
        names = {entry.name for entry in entries}
        if folder != root and names & _MARKS:
            continue
        for entry in entries:
            path = above + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in besides and not _is_left_out(entry.name, names):
                    folders.append((f"{path}/", Path(entry.path)))
            elif entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                found.append((path, Path(entry.path)))
    yield from sorted(found)


def only_sources(paths: Iterable[str]) -> list[str]:
    """Return those of a tree's paths that `walk` would find, sorted."""
    paths = sorted(paths)
    names: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        parts = path.split("/")
        for depth, part in enumerate(parts):
            names["/".join(parts[:depth])].add(part)

    def is_source(path: str) -> bool:
        *folders, name = path.split("/")
        return not name.startswith(".") and not any(
            _is_left_out(folder, names["/".join(folders[:depth])]) or names["/".join(folders[: depth + 1])] & _MARKS
            for depth, folder in enumerate(folders)
        )

    return [path for path in paths if is_source(path)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"the folder {folder.name!r} cannot be listed: {error.strerror}; check its permissions"
        ) from None


def _is_left_out(folder: str, beside: Collection[str]) -> bool:
    hidden = folder.startswith(".") or folder.endswith(".egg-info")
    return hidden or folder in _INSTALLED or (folder in _BUILT and not _PROJECT.isdisjoint(beside))
