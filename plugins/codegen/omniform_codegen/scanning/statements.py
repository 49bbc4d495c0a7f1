r"""Where statements begin and end in code that need not parse.

A statement is a logical line: physical lines joined by brackets, strings in triple quotes and backslashes. Unlike
`tokenize`, this never fails: a string that lacks its end takes what is left, and a bracket that lacks its end gives way
to a line that begins with a word that cannot stand inside of brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Region", "last_statement", "region", "repaired", "statements"]

_PIECES = re.compile(
    rb"""(?P<comment>\#[^\n]*)
    |(?P<string>(?:"{3}(?:[^\\]|\\.)*?(?:"{3}|\Z)|'{3}(?:[^\\]|\\.)*?(?:'{3}|\Z)
        |"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?))
    |(?P<open>[(\[{])|(?P<close>[)\]}])
    |(?P<join>\\\r?\n)|(?P<line>\n)""",
    re.VERBOSE | re.DOTALL,
)
_OUTSIDE = re.compile(rb"[ \t]*(?:def|class|import|return|with|while|try|raise|del|@)\b")
_OPENING = re.compile(rb"(?:async|class|def|elif|else|except|finally|for|if|match|try|while|with)\b")
_PARTNER = {b"(": b")", b"[": b"]", b"{": b"}"}


@dataclass(frozen=True, slots=True)
class Region:
    """Where something stands in a file; lines and columns count from 1, columns in characters, the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


def statements(code: bytes) -> list[tuple[int, int]]:
    """Return start and end of every statement in bytes, without the space and the comments around it."""
    found, begin, depth, comment = [], 0, 0, None
    for match in _PIECES.finditer(code):
        kind = match.lastgroup
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(depth - 1, 0)
        elif kind == "comment" and depth == 0:
            comment = match.start()
        elif kind == "line":
            if depth and not _OUTSIDE.match(code, match.end()):
                continue
            found.append((begin, match.start() if comment is None else comment))
            begin, depth, comment = match.end(), 0, None
    found.append((begin, len(code) if comment is None else comment))
    trimmed = (_trim(code, start, end) for start, end in found)
    return [(start, end) for start, end in trimmed if start < end]


def last_statement(code: bytes) -> tuple[int, int]:
    """Return start and end of the last statement; both the length of the code if there is none."""
    found = statements(code)
    return found[-1] if found else (len(code), len(code))


def region(code: bytes, start: int, end: int) -> Region:
    """Return lines and columns of the bytes `start:end`."""
    return Region(*_place(code, start), *_place(code, end))


def repaired(code: bytes) -> list[bytes]:
    """Return what a parser may be offered in place of code that was cut off, the closest first.

    The code as it is; with its strings and brackets closed and a body for an open block; the same with the `except`
    that an open `try` lacks; and without the last statement.
    """
    start, _ = last_statement(code)
    closed = code.rstrip() + _closing(code)
    with_body = closed.removesuffix(b":") + b": pass" if _OPENING.match(code, start) else closed
    tries = b"".join(b"\n" + indent + b"except Exception: pass" for indent in _open_tries(code))
    return list(dict.fromkeys((code, closed, with_body, with_body + tries, code[:start].rstrip() + b"\n")))


def _trim(code: bytes, start: int, end: int) -> tuple[int, int]:
    part = code[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def _place(code: bytes, offset: int) -> tuple[int, int]:
    line = code.rfind(b"\n", 0, offset) + 1
    return code.count(b"\n", 0, offset) + 1, len(code[line:offset].decode("utf-8", "replace")) + 1


def _closing(code: bytes) -> bytes:
    """Return the quotes and brackets that the last statement lacks."""
    start, end = last_statement(code)
    quote, brackets = b"", []
    for match in _PIECES.finditer(code, start, end):
        text = match.group()
        if match.lastgroup == "open":
            brackets.append(_PARTNER[text])
        elif match.lastgroup == "close" and brackets:
            brackets.pop()
        elif match.lastgroup == "string":
            mark = text[:3] if text[:3] in (b'"""', b"'''") else text[:1]
            ended = len(text) >= 2 * len(mark) and text.endswith(mark)
            formatted = code[match.start() - 1 : match.start()] in (b"f", b"F")
            braces = max(text.count(b"{") - text.count(b"}"), 0) if formatted else 0
            quote = b"" if ended else b"}" * braces + mark
    return quote + b"".join(reversed(brackets))


def _open_tries(code: bytes) -> list[bytes]:
    """Return the indents of the `try` blocks that the cursor stands in, the innermost first."""
    found: list[bytes] = []
    for start, end in statements(code):
        indent = code[code.rfind(b"\n", 0, start) + 1 : start]
        found = [other for other in found if len(other) < len(indent)]
        if code[start:end].startswith(b"try:"):
            found.append(indent)
    return found[::-1]
