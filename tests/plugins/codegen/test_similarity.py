"""Similarities against values worked out by hand and against the textbook's table of edit distances."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform_codegen.similarity import edit_distance, edit_similarity, exact_match, identifier_overlap, parses

TEXTS = st.text(alphabet="abcé日 \n", max_size=14)


def table(a: str, b: str) -> int:
    """Return Levenshtein's distance by Wagner and Fischer's table, cell by cell."""
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if i == 0 or j == 0:
                rows[i][j] = i + j
            else:
                change = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1])
                rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, change)
    return rows[-1][-1]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(a=TEXTS, b=TEXTS)
def test_the_distance_is_the_table_s(a, b):
    expected = table(a, b)
    assert edit_distance(a.encode(), b.encode()) == edit_distance(b.encode(), a.encode()) == expected
    longest = max(len(a), len(b))
    assert edit_similarity(a.encode(), b.encode()) == pytest.approx(1 - expected / longest if longest else 1)


def test_long_texts_have_the_table_s_distance():
    draw = random.Random(0)
    a, b = ("".join(draw.choices("abcd", k=length)) for length in (200, 180))
    assert edit_distance(a.encode(), b.encode()) == table(a, b)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("", "abc", 3),
        ("abc", "abc", 0),
        ("aaa", "aa", 1),
        ("日本", "日", 1),
    ],
)
def test_distances_by_hand(a, b, distance):
    assert edit_distance(a.encode(), b.encode()) == distance


def test_similarities_by_hand():
    assert edit_similarity(b"kitten", b"sitting") == pytest.approx(1 - 3 / 7)
    assert edit_similarity(b"", b"") == 1
    assert edit_similarity(b"", b"x") == 0
    assert edit_similarity(b"x", b"x ") == 0.5
    assert edit_similarity(b"\xff\xfe", b"\xff") == 0.5  # bytes that are no UTF-8 are a character each


def test_exact_matches_forgive_white_space_on_the_right_only():
    assert exact_match(b"return x\n", b"return x  ")
    assert not exact_match(b" return x", b"return x")
    assert not exact_match(b"f(a, b)", b"f(a,b)")
    assert exact_match(b"", b"\n")


def test_names_overlap():
    assert identifier_overlap(b"return foo(bar)", b"if foo: bar") == 1
    assert identifier_overlap(b"foo(bar)", b"foo(baz)") == pytest.approx(1 / 3)
    assert identifier_overlap("größe = 1".encode(), "größe + x1".encode()) == 0.5
    assert identifier_overlap(b"1 + 2", b"return 3") == 1
    assert identifier_overlap(b"x", b"1") == 0


def test_a_filled_file_parses_or_not():
    assert parses(b"def f():\n    ", b"return 1", b"\n")
    assert not parses(b"def f():\n    ", b"return (", b"\n")
    assert parses("s = 'ä".encode(), b"'", b"")
    assert not parses(b"", b"\x00", b"")
    assert parses(b"", b"s = '\\d'", b"")
