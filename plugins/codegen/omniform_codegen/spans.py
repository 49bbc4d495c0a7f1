"""Places in files to be filled in: what is hidden, what stands before and behind."""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from omniform_codegen.corpus import Corpus, SourceFile

__all__ = ["Span", "draw_spans", "line_spans", "syntax_tree"]

_LONGEST = 200  # bytes
_PYTHON = (".py", ".pyi", ".pyw")
_BRANCHES = ("body", "orelse", "finalbody")
_Located = ast.stmt | ast.expr
_Units = dict[str, list[tuple[int, int]]]  # byte ranges by kind
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start:stop` of a file, hidden.

    Attributes:
        place: the file's place in its corpus.
        kind: what it is: a line, or a syntactic unit (`"block"`, `"condition"`, `"call"`, as SAFIM's).
    """

    place: int
    start: int
    stop: int
    kind: str


def draw_spans(corpus: Corpus, *, count: int, seed: int) -> tuple[Span, ...]:
    """Draw at most `count` syntactic units of 1 to 200 bytes, kinds and files as evenly as they come.

    After SAFIM (arXiv 2403.04814), by Python's grammar: `"block"`, the statements under a function or a control
    structure; `"condition"`, what an if, while, assert or comprehension tests, or a for runs over; `"call"`, a call
    into something that was imported. Files that are not Python, do not parse or have no such unit give whole `"line"`s.

    Files take turns in a random order, so that a file gives a second one only after each has given one.
    """
    rng = np.random.default_rng(seed)
    return _take_turns(((place, _units(corpus.files[place])) for place in _shuffled(corpus, rng)), count, rng)


def line_spans(corpus: Corpus, *, count: int, seed: int) -> tuple[Span, ...]:
    """Draw at most `count` ends of lines, of kind `"line"`: what stands behind a cursor, blanks at the end left out.

    The cursor is uniform over the characters of the line that are not indentation; lines and files as in `draw_spans`.
    """
    rng = np.random.default_rng(seed)
    files = corpus.files
    lines = _take_turns(
        ((place, {"line": _lines(files[place].content)}) for place in _shuffled(corpus, rng)), count, rng
    )
    return tuple(replace(line, start=_cursor(files[line.place].content, line, rng)) for line in lines)


def syntax_tree(source: str | bytes) -> ast.Module | None:
    """Parse Python without a word about what is doubtful in it; `None` if it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _shuffled(corpus: Corpus, rng: np.random.Generator) -> list[int]:
    return rng.permutation(len(corpus.files)).tolist()


def _take_turns(files: Iterator[tuple[int, _Units]], count: int, rng: np.random.Generator) -> tuple[Span, ...]:
    """Take from each file in turn a unit of the kind that is rarest so far; a file is parsed when its turn comes."""
    taken: list[Span] = []
    kinds: Counter[str] = Counter()
    again = deque[tuple[int, _Units]]()
    while len(taken) < count:
        turn = next(files, None) or (again.popleft() if again else None)
        if turn is None:
            break
        place, units = turn
        left = {kind: ranges for kind, ranges in units.items() if ranges}
        if not left:
            continue
        kind = min(left, key=lambda name: (kinds[name], name))
        start, stop = left[kind].pop(int(rng.integers(len(left[kind]))))
        taken.append(Span(place, start, stop, kind))
        kinds[kind] += 1
        again.append((place, left))
    return tuple(sorted(taken, key=lambda span: (span.place, span.start, span.stop, span.kind)))


def _units(file: SourceFile) -> _Units:
    path, content = file.path, file.content
    tree = syntax_tree(text) if path.endswith(_PYTHON) and (text := _text(content)) is not None else None
    units: _Units = {}
    if tree is not None:
        starts = [0, *itertools.accumulate(len(line) for line in content.splitlines(keepends=True))]
        for kind, first, last in _nodes(tree):
            start = starts[first.lineno - 1] + first.col_offset
            stop = starts[(last.end_lineno or last.lineno) - 1] + (last.end_col_offset or 0)
            if 0 < stop - start <= _LONGEST:
                units.setdefault(kind, []).append((start, stop))
    return units or {"line": _lines(content)}


def _text(content: bytes) -> str | None:
    """Return the text, if it is UTF-8: the syntax tree counts columns in bytes of that."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _nodes(tree: ast.Module) -> Iterator[tuple[str, _Located, _Located]]:
    """Yield kind, first and last node of each unit, in an order that the tree alone determines."""
    imported = _imported(tree)
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.JoinedStr):  # places within f-strings are wrong before Python 3.12
            continue
        todo.extend(ast.iter_child_nodes(node))
        for block in _blocks(node):
            yield "block", block[0], block[-1]
        for condition in _conditions(node):
            yield "condition", condition, condition
        if isinstance(node, ast.Call) and _root(node.func) in imported:
            yield "call", node, node


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the statements under a function or a control structure, unless they only name or say something.

    A decorated first statement starts at its decorator, which the tree places elsewhere: such blocks are left out.
    """
    if isinstance(node, ast.Module | ast.ClassDef):
        return
    for name in _BRANCHES:
        block = getattr(node, name, None)
        if not isinstance(block, list) or not block or all(_is_idle(statement) for statement in block):
            continue
        chained = name == "orelse" and isinstance(node, ast.If) and isinstance(block[0], ast.If)  # elif starts within
        if not chained and not (isinstance(block[0], _NAMED) and block[0].decorator_list):
            yield block


def _is_idle(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _conditions(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.If() | ast.While() | ast.IfExp() | ast.Assert():
            yield node.test
        case ast.For() | ast.AsyncFor():
            yield node.iter
        case ast.comprehension():
            yield from node.ifs


def _imported(tree: ast.Module) -> set[str]:
    """Return the names that imports bind."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return {(alias.asname or alias.name).partition(".")[0] for node in nodes for alias in node.names}


def _root(node: ast.expr) -> str | None:
    """Return the name that a chain of attributes starts from."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _lines(content: bytes) -> list[tuple[int, int]]:
    """Return the ranges of lines without indentation and blanks at the end, of 1 to 200 bytes."""
    found = (match.span() for match in re.finditer(rb"[^\s](?:[^\r\n]*[^\s])?", content))
    return [(start, stop) for start, stop in found if stop - start <= _LONGEST]


def _cursor(content: bytes, line: Span, rng: np.random.Generator) -> int:
    """Return a place in a line that is not within a character of UTF-8, with more than blanks behind it."""
    places = [place for place in range(line.start, line.stop) if content[place] & 0xC0 != 0x80]
    return int(rng.choice(places)) if places else line.start
