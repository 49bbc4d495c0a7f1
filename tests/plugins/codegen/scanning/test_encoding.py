"""What a network gets to see: the last statement, what matters to it, and names that do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform_codegen.scanning.encoding import encode, tokens
from omniform_codegen.scanning.relevance import bound_names, relevant

CODE = b"""import os
import json

def helper(a):
    return a + 1

class Store:
    def put(self, name, size):
        query = "SELECT '%s'" % name
        total = size + 1
        for row in self.rows:
            row.touch()
        cursor = self.db.cursor()
        cursor.execute(query"""


def kept(code):
    return [code[start:end].split(b"\n")[0] for start, end in relevant(code)]


def encoded(code, context=40):
    return encode(code, context=context, buckets=512)


def test_the_slice_holds_what_gives_names_and_what_encloses():
    assert kept(CODE) == [
        b"class Store:",
        b"def put(self, name, size):",
        b"query = \"SELECT '%s'\" % name",
        b"cursor = self.db.cursor()",
        b"cursor.execute(query",
    ]


def test_decorators_tests_and_imports_that_matter_are_kept():
    code = (
        b"import os, re\n@app.route('/x')\ndef f(a):\n    b = 3\n    if a not in SAFE:\n        c = 1\n    os.remove(a"
    )
    assert kept(code) == [b"import os, re", b"@app.route('/x')", b"def f(a):", b"if a not in SAFE:", b"os.remove(a"]


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        (b"a = f(b, c=1)", {b"a"}),
        (b"a, b.c = x", {b"a", b"b"}),
        (b"a += b", {b"a"}),
        (b"a: int = b", {b"a"}),
        (b"def f(a, *b, c: int = 3, **d):", {b"a", b"b", b"c", b"d"}),
        (b"with open(x) as f, g as h:", {b"f", b"h"}),
        (b"for i, j in x:", {b"i", b"j"}),
        (b"from os import path as p", {b"path", b"p"}),
        (b"self.lock = 1", {b"self.lock"}),
        (b"a == b", set()),
    ],
)
def test_bound_names(statement, names):
    assert bound_names(statement) >= names
    assert not bound_names(statement) & {b"x", b"b"} - names


def test_variables_may_be_called_anything():
    other = CODE.replace(b"query", b"zzz").replace(b"cursor =", b"qq =").replace(b"cursor.exec", b"qq.exec")
    ours, theirs = encoded(CODE), encoded(other)
    np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
    assert (ours[:, 1] != theirs[:, 1]).any()


def test_the_last_statement_is_marked_and_stands_at_the_end():
    codes = encoded(CODE)
    marked = np.flatnonzero(codes[:, 2])
    assert marked.tolist() == list(range(40 - 6, 40))  # the indent, cursor . execute ( query
    assert (codes[codes[:, 0] == 0] == 0).all()
    assert encoded(b"").sum() == 0
    np.testing.assert_array_equal(encoded(CODE + b"\n    \n"), codes)


def test_kin_and_strings():
    kin = dict(tokens(b"db_password = config['password'] or APIKey2"))
    assert kin[b"db_password"] == kin[b'"password'] == b"~password"
    texts = [text for text, _ in tokens(b"f'{name}' 'open")]
    assert texts == [b"open f", b"{", b"name", b"}", b"close", b"open ", b'"open']
    assert len(list(tokens(b"'" + b"word " * 500 + b"'"))) == 16 + 12 + 2


@given(st.binary(max_size=300))
def test_any_bytes_are_encoded(code):
    codes = encode(code, context=24, buckets=64)
    assert codes.shape == (24, 3)
    assert codes.min() >= 0
    assert codes.max() < 64
