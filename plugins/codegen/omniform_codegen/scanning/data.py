"""Read snippets: a table of JSON lines, a folder a type, or files to scan statement by statement."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omniform.configuration import split_names
from omniform.errors import DataError
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.sample import sample_snippets
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.scanning.statements import region, statements
from omniform_codegen.scanning.truncation import window
from omniform_codegen.scanning.weaknesses import SAFE

__all__ = ["classes_of_config", "read_file", "read_snippets", "scanned", "source_files", "types_of"]

_log = logging.getLogger(__name__)
_TYPE = re.compile(r"(?i)(?:cwe[-_ ]?)?0*(\d{1,5})")
_SAFE_NAMES = {"", "safe", "0", "none", "clean", "not vulnerable", "benign"}
_LARGEST = 2_000_000
_HIDDEN = {"__pycache__", "node_modules", "venv", "site-packages"}


def read_snippets(source: str | Path, config: ScanConfig) -> Snippets:
    """Read labelled snippets.

    Args:
        source: `"sample"`; a `.jsonl` whose lines have `code` and `label` or `cwe`, and may have `group`, `name` and
            `part`; or a folder with a folder for each type (`CWE-89/`, ..., `safe/`) of files, each of which ends where
            its cursor stands.

    Raises:
        DataError: it is neither, a line or a label is broken, or a type is unknown to a resolved config.
    """
    path = Path(source)
    if str(source) == "sample":
        found = sample_snippets(config)
    elif path.suffix == ".jsonl" and path.is_file():
        found = Snippets(tuple(_read_lines(path)))
    elif path.is_dir():
        found = Snippets(tuple(_read_folders(path)))
    else:
        raise DataError(f"expected a .jsonl, a folder of type folders, or 'sample'; got {source}")
    unlabelled = next((item for item in found.items if item.label is None), None)
    if unlabelled is not None:
        raise DataError(f"{source}: expected a label for each snippet; {unlabelled.name} has none")
    if config.types is not None:
        strange = sorted({item.label or "" for item in found.items} - set(classes_of_config(config)))
        if strange:
            raise DataError(f"{source}: expected the types {config.types} or safe, got {', '.join(strange)}")
    return found


def scanned(source: str | Path, config: ScanConfig) -> Snippets:
    """Read what is to be scanned: a snippet for each statement, as if its end were the cursor.

    Args:
        source: a file, a folder of `.py` files, `-` for standard input; a `.jsonl` of snippets is taken line by line,
            and of `"sample"` the test part.

    Raises:
        DataError: there is nothing to read, or nothing in it.
    """
    if str(source) == "sample":
        return Snippets(tuple(item for item in sample_snippets(config).items if item.part == "test"))
    path = Path(source)
    if path.suffix == ".jsonl":
        return Snippets(tuple(_read_lines(path)))
    found = Snippets(tuple(item for name, code in source_files(source) for item in read_file(name, code)))
    if not len(found):
        raise DataError(f"expected at least one statement in {source}, got none")
    return found


def source_files(source: str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of a file, of the `.py` files of a folder, or of standard input (`-`).

    A file in a folder that is hidden, installed or larger than 2 MB is left out.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    path = Path(source)
    if str(source) == "-":
        yield "-", sys.stdin.buffer.read()
    elif path.is_file():
        yield str(path), _read_bytes(path)
    elif path.is_dir():
        for file in sorted(path.rglob("*.py")):
            inner = file.relative_to(path).parts
            if not file.is_file() or any(part.startswith(".") or part in _HIDDEN for part in inner):
                continue
            if file.stat().st_size > _LARGEST:
                _log.warning("%s is larger than %d MB and was left out", file, _LARGEST // 1_000_000)
                continue
            yield str(file), _read_bytes(file)
    else:
        raise DataError(f"expected a file, a folder or - for standard input, got {source}")


def read_file(name: str, code: bytes) -> list[Snippet]:
    """Return a snippet for each statement of a file, with where it stands."""
    spans = statements(code)
    found = []
    for number, (start, end) in enumerate(spans):
        seen = window(code, spans[max(0, number - 200) : number + 1], end)
        found.append(Snippet(seen, None, name, name, "", region(code, start, end)))
    return found


def types_of(snippets: Snippets) -> tuple[str, ...]:
    """Return the types of weakness among the labels, by number.

    Raises:
        DataError: there is none, or nothing safe.
    """
    counts = Counter(item.label for item in snippets.items)
    types = sorted((label for label in counts if label and label != SAFE), key=lambda cwe: int(cwe[4:]))
    if not types or SAFE not in counts:
        found = ", ".join(str(label) for label in counts) or "none"
        raise DataError(f"expected weak and safe snippets to learn from, got the labels {found}")
    return tuple(types)


def classes_of_config(config: ScanConfig) -> tuple[str, ...]:
    """Return the classes of a resolved config: safe, and the types."""
    return (SAFE, *split_names(config.types or ""))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _read_lines(path: Path) -> Iterator[Snippet]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as UTF-8: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: expected JSON, got {line[:40]!r} ({error.msg})") from error
        if not isinstance(row, dict) or not isinstance(row.get("code"), str):
            raise DataError(f"{where}: expected an object with the text 'code'")
        part = str(row.get("part", ""))
        if part not in ("", "train", "validation", "test"):
            raise DataError(f"{where}: expected part to be train, validation or test, got {part!r}")
        label = _label(row["label"] if "label" in row else row.get("cwe"), where) if _told(row) else None
        name = str(row.get("name", f"{path.name}:{number}"))
        yield Snippet(row["code"].encode("utf-8", "replace"), label, str(row.get("group", "")), name, part)


def _told(row: dict[str, Any]) -> bool:
    return "label" in row or "cwe" in row


def _read_folders(root: Path) -> Iterator[Snippet]:
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for folder in folders:
        label = _label(folder.name, str(folder))
        for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
            name = file.relative_to(root).as_posix()
            yield Snippet(_read_bytes(file), label, file.stem, name)


def _label(value: object, where: str) -> str:
    """Return a label in its usual form."""
    text = "" if value is None or value is False else str(value).strip()
    if text.lower() in _SAFE_NAMES:
        return SAFE
    match = _TYPE.fullmatch(text)
    if match is None:
        raise DataError(f"{where}: expected a type such as CWE-89, or safe; got {text!r}")
    return f"CWE-{match.group(1)}"
