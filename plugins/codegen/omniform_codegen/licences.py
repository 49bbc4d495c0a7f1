"""Under which licence a file may be used: SPDX ids, from the file itself or from the notice nearest above it.

Texts are told apart by phrases that only they have. What matches none is unknown, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["identify", "is_notice", "nearest", "notices_of", "permits"]

_HEAD = 6000  # bytes in which a file states its licence
_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+()\- ]+)")
_NOTICE = re.compile(r"(?i)(?:un)?licen[cs]es?\b|copying\b")
_GNU_VERSION = re.compile(r"version (\d)(?:\.(\d))?[^.]{0,120}")
_GNU = (("AGPL", "gnu affero general public"), ("LGPL", "gnu lesser general public"), ("GPL", "gnu general public"))
_LGPL_LIBRARY = "gnu library general public"
_PHRASES = (
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    ("CC0-1.0", "cc0 1.0 universal"),
    ("CC0-1.0", "creativecommons.org/publicdomain/zero/1.0"),
    ("MPL-2.0", "mozilla public license version 2.0"),
    ("MPL-2.0", "mozilla public license, v. 2.0"),
    ("PSF-2.0", "python software foundation license version 2"),
    ("PSF-2.0", "licensed to psf under a contributor agreement"),
    ("Apache-2.0", "licensed under the apache license, version 2.0"),
    ("Apache-2.0", "apache license version 2.0, january 2004"),
    ("BSL-1.0", "boost software license - version 1.0"),
    ("BSL-1.0", "distributed under the boost software license, version 1.0"),
    ("ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"),
    ("ISC", "permission to use, copy, modify, and distribute this software for any purpose with or without fee"),
    ("MIT", "licensed under the mit license"),
    ("MIT", "released under the mit license"),
)


def identify(text: bytes) -> str | None:
    """Return the SPDX id or expression that a licence's text, or the head of a source file, states; `None` if none."""
    head = text[:_HEAD].decode("latin-1")
    if declared := _SPDX.search(head):
        return declared[1].strip() or None
    words = re.sub(r"[^a-z0-9.,:;/()-]+", " ", head.lower())  # comment signs and line ends count for nothing
    return _gnu(words) or _bsd(words) or _mit(words) or next((name for name, say in _PHRASES if say in words), None)


def is_notice(name: str) -> bool:
    """Tell whether a file of this name is a licence's text: LICENSE, LICENCE.txt, COPYING, LICENSE-MIT ..."""
    return bool(_NOTICE.match(name)) and not name.lower().endswith(
        (".py", ".c", ".h", ".js", ".ts", ".go", ".java", ".rs")
    )


def notices_of(texts: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Return the licence of every folder with notices, of `(path, text)`; that of the top folder is called `""`.

    LICENSE-MIT beside LICENSE-APACHE offers a choice; other notices side by side all apply.
    """
    found: dict[str, dict[str, str]] = {}
    for path, text in sorted(texts):
        folder, _, name = path.rpartition("/")
        if (licence := identify(text)) is not None:
            found.setdefault(folder, {})[name] = licence
    return {folder: _together(named) for folder, named in found.items()}


def nearest(path: str, notices: Mapping[str, str]) -> str | None:
    """Return the licence of the folder nearest above a file that has one."""
    folder = path.rpartition("/")[0]
    while folder and folder not in notices:
        folder = folder.rpartition("/")[0]
    return notices.get(folder)


def permits(expression: str | None, allowed: frozenset[str]) -> bool:
    """Tell whether an SPDX expression can be met by the `allowed` ids alone; an unknown licence cannot.

    `GPL-2.0` among `allowed` stands for `GPL-2.0-only` and `GPL-2.0-or-later` too. An id of which only the version is
    known is taken for its narrower form, `-only`.
    """
    tokens = re.findall(r"[()]|[^\s()]+", expression or "")
    try:
        met, rest = _either(tokens, {name.lower() for name in allowed})
    except IndexError:
        return False
    return met and not rest


def _gnu(words: str) -> str | None:
    """Return the GNU licence that is named first; its text mentions the others further below."""
    places = [(words.find(say), name) for name, say in (*_GNU, ("LGPL", _LGPL_LIBRARY)) if say in words]
    if not places:
        return None
    start, name = min(places)
    version = _GNU_VERSION.search(words, start)
    if version is None:
        return None
    number = f"{name}-{version[1]}.{version[2] or 0}"
    return f"{number}-or-later" if "any later version" in version[0] else number


def _bsd(words: str) -> str | None:
    if "redistribution and use in source and binary forms" not in words:
        return None
    if "all advertising materials" in words:
        return "BSD-4-Clause"
    return "BSD-3-Clause" if re.search(r"neither the names? |may not be used to endorse", words) else "BSD-2-Clause"


def _mit(words: str) -> str | None:
    if "permission is hereby granted, free of charge, to any person obtaining a copy" not in words:
        return None
    return "MIT" if "permission notice shall be included" in words else "MIT-0"


def _together(named: Mapping[str, str]) -> str:
    licences = sorted(set(named.values()))
    if any(name.startswith("LGPL") for name in licences):  # its text comes with that of the GPL, which it amends
        licences = [name for name in licences if not name.startswith("GPL")]
    choice = len(licences) > 1 and all("-" in name for name in named)
    return (" OR " if choice else " AND ").join(licences)


def _either(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    met, tokens = _every(tokens, allowed)
    while tokens and tokens[0].upper() == "OR":
        other, tokens = _every(tokens[1:], allowed)
        met = met or other
    return met, tokens


def _every(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    met, tokens = _one(tokens, allowed)
    while tokens and tokens[0].upper() == "AND":
        other, tokens = _one(tokens[1:], allowed)
        met = met and other
    return met, tokens


def _one(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    if tokens[0] == "(":
        met, tokens = _either(tokens[1:], allowed)
        return met, tokens[1:] if tokens[0] == ")" else tokens
    name, tokens = tokens[0].lower(), tokens[1:]
    if tokens and tokens[0].upper() == "WITH":  # an exception only adds permissions
        tokens = tokens[2:]
    stem = re.sub(r"-only$|-or-later$|\+$", "", name)
    return name in allowed or stem in allowed or (name == stem and f"{stem}-only" in allowed), tokens
