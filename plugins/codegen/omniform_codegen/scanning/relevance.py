"""Which statements tell what the last one does: where its names were given, what encloses it, and what tests them.

A backward slice by names alone: quick, and possible in code that does not parse.
"""

from __future__ import annotations

import keyword
import re

from omniform_codegen.scanning.statements import statements

__all__ = ["bound_names", "relevant"]

_NAME = re.compile(rb"(?<![\w.])(?:self\.)?[A-Za-z_]\w*")
_TARGETS = re.compile(rb"(?:[\w.\[\]\"'*]+\s*,\s*)*[\w.\[\]\"'*]+\s*(?::[^=\n]+)?(?:[-+*/|&%@]|//|\*\*|<<|>>)?=(?!=)")
_GIVEN = re.compile(rb"\bfor\s+\(?([\w, ]+?)\)?\s+in\b|\bas\s+(\w+)|\bimport\s+\(?([\w, ]+)")
_DEFINITION = re.compile(rb"(?:async\s+)?def\s+(\w+)\s*\((.*)", re.DOTALL)
_PARAMETER = re.compile(rb"(?:^|,)\s*\*{0,2}([A-Za-z_]\w*)")
_NO_NAMES = {word.encode() for word in (*keyword.kwlist, "self", "cls", "print", "str", "len")}
_MOST = 80


def relevant(code: bytes) -> list[tuple[int, int]]:
    """Return the spans of the last statement and of those before it that matter to it, in order.

    Kept are the headers that enclose it with their decorators, and every statement that shares a name with it or with
    a statement that gave it one; at most 80 statements back.
    """
    spans = statements(code)
    if not spans:
        return []
    kept = [spans[-1]]
    wanted, depth = _names(code, spans[-1]), _column(code, spans[-1])
    decorated = False
    for span in reversed(spans[-_MOST - 1 : -1]):
        column, text = _column(code, span), code[span[0] : span[1]]
        names = _names(code, span)
        encloses = column < depth
        if encloses or (decorated and text.startswith(b"@")) or names & wanted:
            kept.append(span)
        if encloses:
            depth = column
        decorated = encloses or (decorated and text.startswith(b"@"))
        if bound_names(text) & wanted:
            wanted |= names
    return kept[::-1]


def bound_names(statement: bytes) -> set[bytes]:
    """Return the names that a statement gives: by assignment, as parameters, in `for`, `with`, `except` and imports."""
    found: set[bytes] = set()
    if targets := _TARGETS.match(statement):
        found.update(_NAME.findall(targets.group()))
    if definition := _DEFINITION.match(statement):
        found.update(_PARAMETER.findall(definition.group(2)))
    for match in _GIVEN.finditer(statement):
        found.update(_NAME.findall(match.group(match.lastindex or 0)))
    return found - _NO_NAMES


def _names(code: bytes, span: tuple[int, int]) -> set[bytes]:
    return set(_NAME.findall(code, *span)) - _NO_NAMES


def _column(code: bytes, span: tuple[int, int]) -> int:
    return span[0] - code.rfind(b"\n", 0, span[0]) - 1
