"""Layers and heads: those of the paper's table 1."""

from __future__ import annotations

from operator import eq, lt

import pytest

from omniform.analysis.rasp import SOp, aggregate, everything, indices, schedule, select, tokens
from omniform.analysis.rasp.programs import (
    double_histogram,
    dyck,
    dyck_1,
    dyck_without_best,
    histogram,
    most_frequent,
    reverse,
    sort,
)

PAPER = {
    "reverse": (reverse(), 2, 1),
    "histogram, bos": (histogram(bos=True), 1, 1),
    "histogram": (histogram(), 1, 2),
    "double histogram, bos": (double_histogram(bos=True), 2, 2),
    "sort, bos": (sort(bos=True), 2, 1),
    "most frequent, bos": (most_frequent(bos=True), 3, 2),
    "dyck-1": (dyck_1(), 2, 1),
    "dyck-2": (dyck(2), 3, 1),
}


@pytest.mark.parametrize(("program", "layers", "heads"), PAPER.values(), ids=list(PAPER))
def test_the_papers_table(program: SOp, layers: int, heads: int) -> None:
    found = schedule(program)
    assert (found.num_layers, found.num_heads) == (layers, heads)


def test_without_best_brackets_take_what_the_authors_say() -> None:
    """Layer by layer 1, 2, 1, 1 heads, by the comment on the program that they publish."""
    assert [len(heads) for heads in schedule(dyck_without_best(2)).layers] == [1, 2, 1, 1]


def test_kinds_of_brackets_cost_nothing() -> None:
    assert [len(heads) for heads in schedule(dyck(4)).layers] == [1, 1, 1]


def test_without_a_token_at_the_beginning_widths_take_a_head_more() -> None:
    assert [len(heads) for heads in schedule(sort()).layers] == [2, 1]
    assert [len(heads) for heads in schedule(double_histogram()).layers] == [3, 2]


def test_what_is_elementwise_takes_no_layer() -> None:
    assert schedule(tokens + indices * 2).num_layers == 0
    assert schedule(tokens).num_heads == 0
    mean = aggregate(everything, tokens)
    assert schedule((mean + tokens) * mean).layers[0][0].aggregates == (mean,)


def test_one_selector_in_one_layer_is_one_head() -> None:
    same = select(tokens, tokens, eq)
    both = aggregate(same, indices) + aggregate(select(tokens, tokens, eq), 2 * indices)
    (heads,) = schedule(both).layers
    assert len(heads) == 1
    assert len(heads[0].aggregates) == 2
    twice = aggregate(same, aggregate(same, indices))
    assert [len(layer) for layer in schedule(twice).layers] == [1, 1]


def test_a_selector_waits_for_what_it_compares() -> None:
    mean = aggregate(everything, indices)
    late = aggregate(select(mean, indices, lt), tokens, 0)
    found = schedule(late)
    assert [head.selector for layer in found.layers for head in layer] == [everything, late.selector]  # type: ignore[attr-defined]
    assert str(found).splitlines()[0] == "2 layers, at most 1 heads"
