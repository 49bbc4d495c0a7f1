"""Pictures in folders, and pictures that a table lists.

    FOLDER/train/CLASS/*.png, FOLDER/test/CLASS/*.png     parts; `val` or `validation` too; all but `train` may lack
    FOLDER/CLASS/*.png                                    no parts
    FOLDER/*.png, FILE.png                                no labels: enough to predict from
    TABLE.csv                                             columns file, label and, if known, patient; files beside it

Hidden files, and files that are no pictures by their names, are left out.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omniform.errors import DataError
from omniform_medical.classification.album import Album, Part
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.picture import SUFFIXES, Header, read_header, read_picture

__all__ = ["Entry", "list_files", "list_folder", "list_table", "read_entries", "usual_size"]

_PARTS: dict[str, Part] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_MOST = 64  # pixels each way that a network sees unless it is told otherwise
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was found, and what its place or its row says of it."""

    path: Path
    name: str
    label: str | None = None
    part: Part = ""
    patient: str | None = None


def list_files(paths: Sequence[Path]) -> list[Entry]:
    """Return entries without labels, called as they are below the folder that all of them share."""
    files = list(dict.fromkeys(path.absolute() for path in paths))
    shared = os.path.commonpath([file.parent for file in files])
    return [Entry(file, file.relative_to(shared).as_posix()) for file in files]


def list_folder(folder: Path) -> list[Entry]:
    """Return the pictures of a folder, by name.

    Raises:
        DataError: there is none, or some have labels and some have none.
    """
    inside = _visible(folder)
    parts = [path for path in inside if path.is_dir() and path.name.lower() in _PARTS]
    if not any(path.name.lower() == "train" for path in parts):
        entries = _list_classes(folder, folder, "")
    else:
        stray = next((path for path in inside if path not in parts and (path.is_dir() or _is_picture(path))), None)
        if stray is not None:
            raise DataError(f"{stray.name!r} lies beside the folder train; expected train, val and test alone")
        entries = [e for path in parts for e in _list_classes(folder, path, _PARTS[path.name.lower()])]
    if not entries:
        raise DataError(f"expected pictures ({', '.join(SUFFIXES)}) in the folder {folder.name!r}, got none")
    if len({entry.label is None for entry in entries}) > 1:
        raise DataError(f"the folder {folder.name!r} has pictures inside and outside of class folders; sort all")
    return entries


def list_table(path: Path) -> list[Entry]:
    """Return the pictures that a CSV lists; files are looked for beside it and below.

    Raises:
        DataError: a column or a file is missing, a file is listed twice or lies elsewhere.
    """
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
        columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
        rows.fieldnames = columns
        table = list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name!r} cannot be read as a table ({error}); expected CSV in UTF-8") from None
    if "file" not in columns:
        raise DataError(f"{path.name!r} has the columns {', '.join(columns[:8])}; expected file, label and patient")
    entries = [_row(path, number, row, columns) for number, row in enumerate(table, start=2)]
    if not entries:
        raise DataError(f"{path.name!r} has no row; expected a picture a row")
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path.name!r} lists the file {twice!r} twice; expected each once")
    return entries


def read_entries(entries: Sequence[Entry], config: ClassifyConfig) -> Album:
    """Read the pictures, all in one size and with as many channels.

    Raises:
        DataError: a file is refused, or `config.group` does not match a name.
    """
    headers = [read_header(entry.path) for entry in entries]
    size = config.image or usual_size([(header.height, header.width) for header in headers])
    channels = config.channels or (1 if all(header.grey for header in headers) else 3)
    if channels == 1 and (colour := sum(not header.grey for header in headers)):
        _log.warning("%d of %d pictures are colour and are read as grey", colour, len(headers))
    dtype = _depth(entries, headers)
    pixels = np.empty((len(entries), *size, channels), dtype)
    for place, entry in enumerate(entries):
        pixels[place] = read_picture(entry.path, size=(size[0], size[1]), channels=channels)
    labels = tuple(entry.label for entry in entries if entry.label is not None)
    return Album(
        pixels,
        tuple(entry.name for entry in entries),
        labels if len(labels) == len(entries) else None,
        tuple(entry.part for entry in entries),
        _patients(entries, config.pattern()),
    )


def usual_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the median height and width, reduced so that neither exceeds 64, at least 8."""
    height, width = np.median(np.array(sizes), axis=0).tolist()
    scale = min(1.0, _MOST / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


def _list_classes(root: Path, folder: Path, part: Part) -> list[Entry]:
    """Return the pictures of class folders, or those in the folder itself, which have no label."""
    found = []
    for path in _visible(folder):
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file() and _is_picture(file)]
            found += [Entry(file, file.relative_to(root).as_posix(), path.name, part) for file in files]
        elif _is_picture(path):
            found.append(Entry(path, path.relative_to(root).as_posix(), None, part))
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _row(path: Path, number: int, row: dict[str, str | None], columns: Sequence[str]) -> Entry:
    def cell(name: str) -> str | None:
        value = (row.get(name) or "").strip() if name in columns else None
        if value == "":
            raise DataError(f"{path.name!r}, line {number}: the column {name} is empty; expected a value in every row")
        return value

    name = cell("file") or ""
    folder = path.parent.resolve()
    file = (folder / name).resolve()
    if not file.is_relative_to(folder):
        raise DataError(f"{path.name!r}, line {number}: the file {name!r} lies outside of the table's folder")
    return Entry(file, file.relative_to(folder).as_posix(), cell("label"), "", cell("patient"))


def _depth(entries: Sequence[Entry], headers: Sequence[Header]) -> type[np.uint8] | type[np.float32]:
    deep = [header.deep for header in headers]
    if any(deep) and not all(deep):
        name = entries[deep.index(not deep[0])].name
        raise DataError(f"{name!r} differs from the first picture in bits per pixel; expected 8 bits in all, or 16")
    return np.float32 if deep[0] else np.uint8


def _patients(entries: Sequence[Entry], pattern: re.Pattern[str] | None) -> tuple[str, ...] | None:
    """Return the patients that the pattern finds in the names, else those that a table told."""
    if pattern is None:
        told = tuple(entry.patient for entry in entries if entry.patient is not None)
        return told if len(told) == len(entries) else None
    found = []
    for entry in entries:
        match = pattern.search(entry.name)
        if match is None:
            raise DataError(f"the group {pattern.pattern!r} does not match the name {entry.name!r}; expected a patient")
        found.append(match[match.lastindex or 0])
    return tuple(found)
