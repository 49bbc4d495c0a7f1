"""What can be read as source code: folders, files, JSON lines, ZIP archives and the embedded sample."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from omniform.errors import DataError
from omniform_codegen.archives import is_lines, is_zip, read_lines, read_zip
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.filters import LARGEST, Found, sift
from omniform_codegen.folders import group_of, has_suffix, suffixes_of, walk
from omniform_codegen.licences import identify, is_notice, nearest, notices_of
from omniform_codegen.sample import LICENCE, sample_files

__all__ = ["Source", "read_corpus", "read_files"]

Source = str | Path | Sequence[Path]
_MOST = 2 << 30  # bytes in all


def read_corpus(source: Source, config: CompleteConfig) -> Corpus:
    """Read `"sample"`, a folder, a file, `.jsonl`, `.jsonl.gz`, `.zip` or several paths, and filter the files.

    Raises:
        DataError: nothing is there, cannot be read, matches `config.suffixes` or passes the filters.
    """
    return sift(read_files(source, config), config)


def read_files(source: Source, config: CompleteConfig) -> tuple[Found, ...]:
    """Read the same without filters, as prediction wants it: bytes as they are, cut where a file is far too large.

    Raises:
        DataError: nothing is there, cannot be read or matches `config.suffixes`.
    """
    found, size = [], 0
    for one in _read(source, config):
        size += len(one.file.content)
        if size > _MOST:
            raise DataError(f"the sources hold over {_MOST >> 30} GiB; give a part of them")
        found.append(one)
    if not found:
        where = "the paths" if not isinstance(source, str | Path) else repr(Path(source).name)
        raise DataError(f"no file in {where} ends in {config.suffixes}; name other ends with --suffixes")
    return tuple(found)


def _read(source: Source, config: CompleteConfig) -> Iterator[Found]:
    if not isinstance(source, str | Path):
        return _described(_named(source), config)
    if str(source) == "sample":
        return _described(_contents(sample_files(), config), config, {"": LICENCE})
    path = Path(source)
    if path.is_dir():
        return _described(_contents(walk(path), config), config, _above(path) if config.licences else {})
    if not path.is_file():
        raise DataError(f"no file or folder {path.name!r} where one was expected; check the path")
    if is_lines(path):
        return read_lines(path, config)
    if is_zip(path):
        return _described(read_zip(path, lambda name: _is_wanted(name, config)), config)
    return _described([(path.name, _bytes(path))], config)


def _named(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield files that are named one by one, whatever their ends, called as they are below the folder all share."""
    files = sorted({Path(path).absolute() for path in paths})
    if not files:
        raise DataError("expected at least one path, got none")
    shared = os.path.commonpath([file.parent for file in files])
    for file in files:
        if not file.is_file():
            raise DataError(f"no file {file.name!r} where one was expected; name one folder, or files alone")
        name = os.fsencode(os.path.relpath(file, shared)).decode("utf-8", "backslashreplace")
        yield name.replace(os.sep, "/"), _bytes(file)


def _contents(files: Iterable[tuple[str, Path]], config: CompleteConfig) -> Iterator[tuple[str, bytes]]:
    return ((path, _bytes(file)) for path, file in files if _is_wanted(path, config))


def _is_wanted(path: str, config: CompleteConfig) -> bool:
    """Tell sources by their ends, and texts of licences where these matter."""
    return has_suffix(path, suffixes_of(config)) or (bool(config.licences) and _is_notice(path))


def _is_notice(path: str) -> bool:
    return is_notice(path.rpartition("/")[2])


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"the file {file.name!r} cannot be read: {error.strerror}; check its permissions") from None


def _described(
    entries: Iterable[tuple[str, bytes]], config: CompleteConfig, above: Mapping[str, str] | None = None
) -> Iterator[Found]:
    """Yield files with group and licence; `above` holds what is known of folders."""
    entries = list(entries)
    texts = [entry for entry in entries if config.licences and _is_notice(entry[0])]
    notices = {**notices_of(texts), **(above or {})}
    known = {path for path, _ in texts}
    for path, content in entries:
        if path not in known:
            licence = (identify(content) or nearest(path, notices)) if config.licences else None
            yield Found(SourceFile(path, content, group_of(path, config.group_depth)), licence)


def _above(root: Path) -> dict[str, str]:
    """Return the licence of the repository that a folder is part of, if the folder has no notice of its own."""
    above = [root.resolve(), *root.resolve().parents]
    top = next((place for place, folder in enumerate(above) if (folder / ".git").exists()), 0)
    for folder in above[: top + 1]:
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and is_notice(file.name)]
        if notices := notices_of((file.name, _bytes(file)) for file in files):
            return notices
    return {}
