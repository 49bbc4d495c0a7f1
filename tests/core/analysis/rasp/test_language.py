"""Expressions: what they mean, how they are written, and that equal ones are one."""

from __future__ import annotations

from fractions import Fraction
from operator import eq, gt, le, lt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.analysis.rasp import (
    aggregate,
    apply,
    best,
    everything,
    finds,
    indicator,
    indices,
    is_in,
    length,
    run,
    schedule,
    select,
    selector_width,
    tokens,
    where,
)
from omniform.analysis.rasp.domains import Domains
from omniform.errors import ConfigError, DataError

LETTERS = st.lists(st.sampled_from("abc"), min_size=1, max_size=8)


def test_equal_expressions_are_one_object() -> None:
    assert (tokens + 1) is (tokens + 1)
    assert select(tokens, "a", eq) is select(tokens, "a", eq)
    assert aggregate(select(tokens, tokens, eq) & everything, 1) is aggregate(
        select(tokens, tokens, eq) & everything, 1
    )
    assert (tokens + 1) is not (tokens + True)
    assert (tokens + 1) is not (tokens + 1.0)
    assert aggregate(everything, 1) is not aggregate(everything, 1, 0)


def test_an_expression_has_no_truth_value_of_its_own() -> None:
    with pytest.raises(ConfigError, match="combine with &"):
        bool(tokens == "a")
    with pytest.raises(ConfigError, match="combine with &"):
        bool(everything)


def test_expressions_are_frozen() -> None:
    with pytest.raises(AttributeError):
        everything.keys = tokens  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (-tokens % 2 + 1, "((-tokens % 2) + 1)"),
        (1 - indices / 2, "(1 - (indices / 2))"),
        (~(tokens == "a"), "~(tokens == 'a')"),
        (round(length), "round(round((1 / aggregate(select(1, 1, ==), int((indices == 0))))))"),
        (~select(tokens, 0, lt) | everything, "(~select(tokens, 0, <) | select(1, 1, ==))"),
        (aggregate(best(everything, indices), tokens, "-"), "aggregate(best(select(1, 1, ==), indices), tokens, '-')"),
    ],
)
def test_is_written_as_it_would_be_typed(expression: object, text: str) -> None:
    assert repr(expression) == text


def test_elementwise_operators_are_pythons() -> None:
    numbers = [3, 1, 4]
    assert run(2 * tokens + indices - 1, numbers) == [5, 2, 9]
    assert run((1 + tokens) / 2, numbers) == [2, 1, Fraction(5, 2)]
    assert run(12 / tokens, numbers) == [4, 12, 3]
    assert run((tokens > 1) & (tokens <= 3), numbers) == [True, False, False]
    assert run((tokens < 2) | (tokens >= 4), numbers) == [False, True, True]
    assert run(tokens != 1, numbers) == [True, False, True]
    assert run(5 - tokens * 2, numbers) == [-1, 3, -3]
    assert run(apply(max, tokens, 2), numbers) == [3, 2, 4]
    assert run(where(is_in(tokens, (1, 3)), "odd", tokens), numbers) == ["odd", "odd", 4]
    assert run(indicator(tokens == 4), numbers) == [0, 0, 1]


def test_selectors_are_rows_of_queries() -> None:
    earlier = select(indices, indices, lt)
    assert run(earlier, "abc") == [[False, False, False], [True, False, False], [True, True, False]]
    assert run(~earlier & select(tokens, "a", eq), "aba") == [
        [True, False, True],
        [False, False, True],
        [False, False, True],
    ]
    assert run(select(tokens, "a", eq) | select(indices, 2, eq), "bab")[0] == [False, True, True]


def test_aggregates_are_exact_means_or_the_only_value() -> None:
    up_to_self = select(indices, indices, le)
    assert run(aggregate(up_to_self, tokens), [1, 2, 4]) == [1, Fraction(3, 2), Fraction(7, 3)]
    assert run(aggregate(select(indices, indices, gt), tokens, -1), [1, 2, 4]) == [3, 4, -1]
    assert run(aggregate(everything, tokens), [1.0, 2.0]) == [1.5, 1.5]
    assert run(aggregate(everything, tokens == "a"), "aa") == [True, True]
    assert run(aggregate(select(indices, 1, eq), tokens), "abc") == ["b", "b", "b"]


@pytest.mark.parametrize("values", [tokens, tokens == "a"])
def test_what_is_no_number_has_no_mean(values) -> None:
    with pytest.raises(DataError, match="equal values or numbers"):
        run(aggregate(everything, values), "ab")


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(DataError, match="at least one token"):
        run(tokens, "")


@given(LETTERS, st.sampled_from([eq, lt, le, gt]), st.booleans())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_widths_count_rows(sequence: list[str], predicate, negated: bool) -> None:
    selector = select(tokens, tokens, predicate) & ~select(indices, 1, eq)
    selector = ~selector if negated else selector
    rows = run(selector, sequence)
    assert run(selector_width(selector), sequence) == [sum(row) for row in rows]
    assert run(selector_width(selector, bos=True), sequence) == [sum(row[1:]) for row in rows]
    assert run(finds(selector), sequence) == [any(row) for row in rows]
    assert run(length, sequence) == [len(sequence)] * len(sequence)


@given(LETTERS)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_the_best_is_the_last_before(sequence: list[str]) -> None:
    before = best(select(tokens, tokens, eq) & select(indices, indices, lt), indices)
    expected = [max((j for j in range(i) if sequence[j] == token), default=-1) for i, token in enumerate(sequence)]
    assert run(aggregate(before, indices, -1), sequence) == expected


def test_deep_programs_do_not_recurse() -> None:
    deep = tokens
    for _ in range(5000):
        deep = deep + 1
    assert run(deep, [0]) == [5000]


def test_what_is_shared_is_computed_once() -> None:
    doubled = tokens
    for _ in range(60):
        doubled = doubled + doubled
    assert run(doubled, [1]) == [2**60]
    assert schedule(doubled).num_layers == 0
    assert Domains([1, 3], 2).of(doubled) == (2**60, 3 * 2**60)
