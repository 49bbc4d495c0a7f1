"""Snippets as numbers: light tokens, each known by two hashes, with the statement at the cursor marked.

L = tokens of the context

A token is a word, a number, an operator, a quote, a line's beginning with its indent, or a word inside of a string. It
has two names: itself, and its kin, which is the last part of an identifier (`db_password` and `"password"` are kin).
Both are hashed into one table, whose rows a network adds (Bloom embeddings, arXiv 1706.03993): no vocabulary is
learnt, and no name is unknown. A variable that the snippet gives goes by its number instead of itself, counted from
the cursor back, so that what a snippet does is the same whatever its variables are called.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from omniform_codegen.scanning.relevance import bound_names, relevant

__all__ = ["encode", "tokens"]

_PIECES = re.compile(
    rb"""(?P<comment>\#[^\n]*)
    |(?P<string>[rRbBfFuU]{0,2}(?:"{3}(?:[^\\]|\\.)*?(?:"{3}|\Z)|'{3}(?:[^\\]|\\.)*?(?:'{3}|\Z)
        |"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?))
    |(?P<word>[A-Za-z_\x80-\xff][\w\x80-\xff]*)
    |(?P<number>\d[\w.]*)
    |(?P<operator>\*\*=?|//=?|<<=?|>>=?|[-+*/%@&|^=!<>:]=|->|\.\.\.|[^\s\w])""",
    re.VERBOSE | re.DOTALL,
)
_QUOTE = re.compile(rb"([rRbBfFuU]{0,2})(\"{3}|'{3}|\"|')")
_INSIDE = re.compile(rb"[A-Za-z_\x80-\xff][\w\x80-\xff]*|\d+|[^\s\w]")
_PARTS = re.compile(rb"[A-Z]?[a-z\x80-\xff]+|[A-Z]+(?![a-z])|\d+")
_HEAD, _TAIL = 16, 12  # words of a long string that are kept
_SEEN = 4096  # bytes before the cursor that are looked at
_NUMBERED = 15


def tokens(code: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each token and its kin."""
    for match in _PIECES.finditer(code):
        text = match.group()
        match match.lastgroup:
            case "string":
                yield from _string(text)
            case "word":
                yield text, _kin(text)
            case "number":
                yield text, b"0"
            case "operator":
                yield text, text


def encode(code: bytes, *, context: int, buckets: int) -> np.ndarray:
    """Return `(L, 3)` int64: the rows of a token and of its kin (0: no token), and 1 in the statement at the cursor.

    Only the statements that matter to the last one are encoded; of those the last L tokens, at the end of the context.
    """
    code = code.rstrip()
    if len(code) > _SEEN:
        code = code[code.find(b"\n", len(code) - _SEEN) + 1 :]
    spans = relevant(code)
    given = {name for span in spans for name in _variables(code[slice(*span)])}
    order: dict[bytes, bytes] = {}
    rows: list[tuple[int, int, int]] = []
    for number, (start, end) in enumerate(reversed(spans)):  # names are numbered from the cursor back
        part, before = [], b""
        for text, kin in (_indent(code, start), *tokens(code[start:end])):
            variable = text in given and before != b"."
            own = order.setdefault(text, b"\0%d" % min(len(order), _NUMBERED)) if variable else text
            part.append((_row(own, buckets), _row(kin, buckets), int(number == 0)))
            before = text
        rows = part + rows
        if len(rows) >= context:
            break
    rows = rows[-context:]
    out = np.zeros((context, 3), dtype=np.int64)
    if rows:
        out[-len(rows) :] = rows
    return out


def _variables(statement: bytes) -> set[bytes]:
    """Return the names that a statement gives; those of modules are not for it to give."""
    return set() if statement.startswith((b"import ", b"from ")) else bound_names(statement)


def _indent(code: bytes, start: int) -> tuple[bytes, bytes]:
    depth = start - code.rfind(b"\n", 0, start) - 1
    return b"\n%d" % min(depth // 4, 6), b"\n"


def _string(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the opening quote with its prefix, the words inside, and the closing quote if there is one."""
    opening = _QUOTE.match(text)
    assert opening is not None
    prefix, quote = opening.group(1).lower().replace(b"u", b""), opening.group(2)
    closed = len(text) >= opening.end() + len(quote) and text.endswith(quote)
    yield b"open " + prefix, b'"'
    inside = list(_INSIDE.finditer(text, opening.end(), len(text) - (len(quote) if closed else 0)))
    if len(inside) > _HEAD + _TAIL:
        inside = inside[:_HEAD] + inside[-_TAIL:]
    plain = b"f" in prefix  # names in a formatted string are those of the code around
    for match in inside:
        word = match.group()
        yield word if plain else b'"' + word, _kin(word)
    if closed:
        yield b"close", b'"'


@lru_cache(maxsize=65536)
def _kin(word: bytes) -> bytes:
    parts = _PARTS.findall(word)
    return b"~" + (parts[-1] if parts else word).lower()


@lru_cache(maxsize=65536)
def _row(text: bytes, buckets: int) -> int:
    """Return the row of a name among `1 .. buckets - 1`."""
    return 1 + int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") % (buckets - 1)
