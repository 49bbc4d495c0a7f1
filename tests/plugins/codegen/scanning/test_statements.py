"""Statements against `tokenize` on real code, and on code that was cut off anywhere."""

import ast
import io
import tokenize
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform_codegen.scanning.library import library_files
from omniform_codegen.scanning.statements import last_statement, region, repaired, statements
from omniform_codegen.spans import syntax_tree

_LAYOUT = {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def logical_lines(code: bytes) -> list[int]:
    """Return where tokenize says that logical lines begin, in bytes."""
    lines = code.splitlines(keepends=True)
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    starts, fresh = [], True
    for token in tokenize.tokenize(io.BytesIO(code).readline):
        if token.type == tokenize.NEWLINE:
            fresh = True
        elif token.type not in _LAYOUT and fresh:
            row, column = token.start
            starts.append(int(offsets[row - 1]) + len(lines[row - 1].decode()[:column].encode()))
            fresh = False
    return starts


def test_statements_begin_where_tokenize_says():
    for file in library_files()[::8]:
        assert [start for start, _ in statements(file.code)] == logical_lines(file.code), file.name


def test_a_cut_leaves_the_statements_before_it():
    code = library_files()[3].code[:6000]
    whole = [start for start, _ in statements(code)]
    for stop in np.random.default_rng(0).integers(50, len(code), 40):
        cut = statements(code[:stop])
        assert [start for start, _ in cut[:-1]] == [start for start in whole if start < cut[-1][0]]
        assert cut[-1][1] <= stop


@given(st.binary(max_size=200))
def test_any_bytes_are_taken(code):
    spans = statements(code)
    assert all(0 <= start < end <= len(code) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert last_statement(code) == (spans[-1] if spans else (len(code), len(code)))
    assert repaired(code)[0] == code


def test_brackets_quotes_and_comments():
    code = b"f(1,\n  2)  # done\nx = '''a\nb'''\ny = 1 + \\\n  2\nz = (1,\ndef g(): pass"
    assert [code[s:e] for s, e in statements(code)] == [
        b"f(1,\n  2)", b"x = '''a\nb'''", b"y = 1 + \\\n  2", b"z = (1,", b"def g(): pass",
    ]  # fmt: skip


def test_columns_count_characters_from_one():
    code = "é = 1\nwenn = 'ü'; y".encode()
    place = region(code, code.index(b"y"), len(code))
    assert (place.line, place.column, place.end_line, place.end_column) == (2, 13, 2, 14)


@pytest.mark.parametrize(
    "code",
    [
        b"os.system('ls ' + na",
        b"def f(a):\n    try:\n        x = eval(a[0",
        b"if a == 'secr",
        b"with open(f'{x",
        b"def f(",
        b'query = f"SELECT {name',
        b"while True:",
    ],
)
def test_cut_code_is_closed_until_it_parses(code):
    parsing = [text for text in repaired(code) if syntax_tree(text) is not None]
    assert parsing
    if not code.startswith((b"def f(a", b"while")):
        assert parsing[0].startswith(code) or b"def f(" in code
    ast.parse(parsing[0])
