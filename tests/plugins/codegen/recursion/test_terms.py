"""Terms survive being written, and what is no term is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform.errors import DataError
from omniform_codegen.recursion.terms import BINARY, LABELS, TREE, Term

LEAF = Term("leaf")
trees = st.recursive(
    st.just(LEAF),
    lambda below: st.builds(
        lambda x, left, right: Term("node", (Term(x), left, right)), st.sampled_from(LABELS), below, below
    ),
    max_leaves=12,
)


def number(value: int) -> Term:
    """Return a positive number as a term, from Python's own digits."""
    term = Term("01")
    for digit in bin(value)[3:]:
        term = Term(f"X{digit}", (term,))
    return term


@given(trees)
def test_a_tree_survives_being_written(tree):
    assert TREE.parse(tree.tokens) == tree
    assert TREE.parse(str(tree).split()) == tree


@given(st.integers(1, 2**40))
def test_a_number_survives_being_written(value):
    term = number(value)
    assert BINARY.parse(term.tokens) == term
    digits = {"X0": "0", "X1": "1", "01": "1"}
    assert int("".join(digits[token] for token in reversed(term.tokens)), 2) == value


@pytest.mark.parametrize(
    ("datatype", "text", "message"),
    [
        (BINARY, "", "the end"),
        (BINARY, "X0 X1", "the end"),
        (BINARY, "X0 01 X1", "to end before 'X1'"),
        (BINARY, "X0 leaf", "'leaf'"),
        (TREE, "node leaf leaf leaf", "expected a or b"),
        (TREE, "node a leaf", "the end"),
        (TREE, "a", "leaf or node"),
        (BINARY, "X0 " * 300 + "01", "at most 200"),
    ],
)
def test_what_is_no_term_is_refused(datatype, text, message):
    with pytest.raises(DataError, match=message):
        datatype.parse(text.split())


def test_drawn_terms_have_the_constructors_asked_for():
    rng = np.random.default_rng(0)
    lengths = {n: len(BINARY.draw("number", n, rng).tokens) for n in (0, 1, 7)}
    assert lengths == {0: 1, 1: 2, 7: 8}
    assert {str(TREE.draw("label", 3, rng)) for _ in range(200)} == set(LABELS)
