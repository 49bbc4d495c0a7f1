"""The interpreter beside Python's own arithmetic and traversals, and its two meanings beside each other."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform_codegen.recursion.functions import FUNCTIONS, Function
from omniform_codegen.recursion.terms import BINARY, LABELS, TREE, Term

SUCCESSOR = FUNCTIONS["successor"]
TRAVERSALS = [FUNCTIONS[name] for name in ("preorder", "inorder", "postorder")]


def number(value: int) -> Term:
    term = Term("01")
    for digit in bin(value)[3:]:
        term = Term(f"X{digit}", (term,))
    return term


def tree(nested) -> Term:
    """Return the tree of nested pairs `(left, label, right)` or `None`."""
    if nested is None:
        return Term("leaf")
    left, label, right = nested
    return Term("node", (Term(label), tree(left), tree(right)))


def traverse(nested, order: str) -> list[str]:
    if nested is None:
        return []
    left, label, right = nested
    parts = {"l": traverse(left, order), "x": [label], "r": traverse(right, order)}
    return [token for part in order for token in parts[part]]


nested_trees = st.recursive(st.none(), lambda below: st.tuples(below, st.sampled_from(LABELS), below), max_leaves=10)


@given(st.integers(1, 2**30))
def test_the_successor_is_that_of_arithmetic(value):
    assert SUCCESSOR.evaluate(number(value)) == number(value + 1).tokens
    carry = (~value & (value + 1)).bit_length() - 1  # trailing ones
    all_ones = value & (value + 1) == 0
    assert SUCCESSOR.depth(number(value)) == carry - all_ones


@given(nested_trees)
def test_traversals_are_those_of_trees(nested):
    orders = {"preorder": "xlr", "inorder": "lxr", "postorder": "lrx"}
    for function in TRAVERSALS:
        assert list(function.evaluate(tree(nested))) == traverse(nested, orders[function.name])


@pytest.mark.parametrize("name", list(FUNCTIONS))
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(0, 5))
def test_steps_lead_to_the_value(name, seed, depth):
    function = FUNCTIONS[name]
    term = function.draw(depth, 6, np.random.default_rng(seed))
    assert function.depth(term) == depth
    assert function.datatype.parse(term.tokens) == term
    steps = function.trace(term)
    assert steps[-1] == function.evaluate(term)
    assert all(function.step(before) == after for before, after in pairwise(steps))
    assert function.step(steps[-1]) is None
    origins = function.origins(term)
    assert len(origins) == len(steps[-1])
    assert all(0 <= origin.place < len(term.tokens) for origin in origins)


def test_the_trace_of_a_carry():
    steps = [" ".join(step) for step in SUCCESSOR.trace(number(0b1011))]
    assert steps == ["X0 successor X1 X0 01", "X0 X0 successor X0 01", "X0 X0 X1 01"]


def test_the_trace_of_a_traversal_goes_left_first():
    term = tree(((None, "b", None), "a", None))
    assert [" ".join(step) for step in FUNCTIONS["inorder"].trace(term)][:3] == [
        "inorder node b leaf leaf a inorder leaf",
        "inorder leaf b inorder leaf a inorder leaf",
        "b inorder leaf a inorder leaf",
    ]
    assert len(FUNCTIONS["inorder"].trace(term)) == 2 * 2 + 1


def test_tokens_know_what_they_are_made_from():
    def told(term):
        return [(origin.place, origin.recursive) for origin in SUCCESSOR.origins(term)]

    assert told(number(0b1011)) == [(0, True), (1, True), (2, False), (3, False)]
    assert told(number(0b11)) == [(0, True), (1, False), (1, False)]
    term = tree(((None, "b", None), "a", (None, "c", None)))
    for function in TRAVERSALS:
        made = [term.tokens[origin.place] for origin in function.origins(term)]
        assert tuple(made) == function.evaluate(term)


def test_a_function_is_defined_by_its_equations():
    double = Function.define("double", BINARY, "01 = X0 01", "X0 n = X0 X0 n", "X1 n = X0 X1 n")
    assert double.evaluate(number(11)) == number(22).tokens
    mirror = Function.define("mirror", TREE, "leaf = leaf", "node x l r = node x mirror r mirror l")
    assert mirror.evaluate(tree(((None, "b", None), "a", None))) == tree((None, "a", (None, "b", None))).tokens
    assert mirror.depth(tree(((None, "b", None), "a", None))) == 2
