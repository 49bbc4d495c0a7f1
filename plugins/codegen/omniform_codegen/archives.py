"""Source files inside of one file: JSON lines, as data sets of code are published, and ZIP archives.

    .jsonl, .jsonl.gz     an object a line; the names of its fields are those of The Stack, StarCoder's and GitHub data
    .zip                  a tree of sources

Archives are read in memory, never unpacked, and within limits.
"""

from __future__ import annotations

import gzip
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from omniform.errors import DataError
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import SourceFile
from omniform_codegen.filters import LARGEST, Found
from omniform_codegen.folders import group_of, has_suffix, only_sources, suffixes_of

__all__ = ["is_lines", "is_zip", "read_lines", "read_zip"]

_CONTENT = ("content", "text", "code")
_PATH = ("path", "max_stars_repo_path", "file_path", "filename")
_REPO = ("repo", "repo_name", "max_stars_repo_name", "repository_name")
_LICENCE = ("licence", "license", "licences", "licenses", "max_stars_repo_licenses", "detected_licenses")
_LONGEST = 64 * LARGEST  # bytes of a line; JSON writes up to six for one
_MOST_ENTRIES = 1_000_000
_PREFIX = re.compile(
    rb"\A(?=<)(?:<reponame>[^\n<]*)?(?:<filename>[^\n<]*)?(?:<gh_stars>[^\n<]*)?\n"
)  # of StarCoder's data


def is_lines(path: Path) -> bool:
    """Tell JSON lines by their name."""
    return path.name.lower().endswith((".jsonl", ".jsonl.gz"))


def is_zip(path: Path) -> bool:
    """Tell a ZIP archive by its name."""
    return path.suffix.lower() == ".zip"


def read_lines(path: Path, config: CompleteConfig) -> Iterator[Found]:
    """Yield the files of JSON lines; those with a path of another suffix are left out.

    A file's group is its repository, where it has one. A file without a path is called by its line's number.

    Raises:
        DataError: the file cannot be read, or a line is no object with text; names the line.
    """
    suffixes = suffixes_of(config)
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            for number, line in enumerate(_lines(stream, path.name), start=1):
                if line.strip():
                    record = _record(line, f"{path.name!r}, line {number}")
                    name = _text(record, _PATH)
                    if name is None or has_suffix(name, suffixes):
                        yield _found(record, name or f"{number:08d}", config)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name!r} cannot be read: {error}; expected JSON lines, packed by gzip or not") from None


def read_zip(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield `(path, content)` of an archive's wanted sources, sorted; contents are cut behind `LARGEST` + 1 bytes.

    Raises:
        DataError: it is no archive, is damaged or encrypted, or has entries that point out of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
            if len(entries) > _MOST_ENTRIES:
                raise DataError(f"{path.name!r} has {len(entries)} entries; expected at most {_MOST_ENTRIES}")
            for name in entries:
                _check_entry(name, path.name)
            for name in filter(is_wanted, only_sources(entries)):
                if stat.S_ISLNK(entries[name].external_attr >> 16):
                    continue
                with archive.open(entries[name]) as stream:
                    yield name, stream.read(LARGEST + 1)
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path.name!r} cannot be read: {error}; expected a whole ZIP without a password") from None


def _check_entry(name: str, archive: str) -> None:
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
        raise DataError(f"{archive!r} has an entry that points out of it; expected paths below its top alone")


def _lines(stream: BinaryIO | gzip.GzipFile, name: str) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise DataError(f"{name!r} has a line of over {_LONGEST} bytes; expected a source file a line")
        yield line


def _record(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON ({error}); expected an object a line") from None
    if not isinstance(record, dict) or _text(record, _CONTENT) is None:
        raise DataError(f"{where} has no text; expected an object with the field {' or '.join(_CONTENT)}")
    return record


def _found(record: Mapping[str, Any], name: str, config: CompleteConfig) -> Found:
    content = (_text(record, _CONTENT) or "").encode("utf-8", "surrogatepass")
    repo = _text(record, _REPO)
    name = name.encode("utf-8", "backslashreplace").decode().lstrip("/")
    path = f"{repo}/{name}" if repo else name
    file = SourceFile(path, _PREFIX.sub(b"", content), repo or group_of(name, config.group_depth))
    return Found(file, _licence(record))


def _text(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((record[name] for name in names if isinstance(record.get(name), str)), None)


def _licence(record: Mapping[str, Any]) -> str | None:
    """Return the licence that a record names; of several, all apply."""
    for name in _LICENCE:
        stated = record.get(name)
        stated = [stated] if isinstance(stated, str) else stated
        if isinstance(stated, list) and (known := [f"({one})" for one in stated if isinstance(one, str) and one]):
            return " AND ".join(known)
    return None
