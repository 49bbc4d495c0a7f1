"""The paper's programs beside Python's own means, and beside what the authors' interpreter prints."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.analysis.rasp import indices, run, tokens
from omniform.analysis.rasp.programs import (
    PAIRS,
    double_histogram,
    dyck,
    dyck_1,
    dyck_without_best,
    histogram,
    most_frequent,
    reverse,
    sort,
)
from omniform.errors import ConfigError

LETTERS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=12)
quick = settings(deadline=None, max_examples=40, derandomize=True)


@given(LETTERS)
@quick
def test_reverse(sequence: list[str]) -> None:
    assert run(reverse(), sequence) == sequence[::-1]


@given(LETTERS)
@quick
def test_histogram(sequence: list[str]) -> None:
    expected = [sequence.count(token) for token in sequence]
    assert run(histogram(), sequence) == expected
    assert run(histogram(bos=True), ["§", *sequence]) == [0, *expected]


@given(LETTERS)
@quick
def test_double_histogram(sequence: list[str]) -> None:
    counts = Counter(sequence)
    frequencies = Counter(counts.values())
    expected = [frequencies[counts[token]] for token in sequence]
    assert run(double_histogram(), sequence) == expected
    assert run(double_histogram(bos=True), ["§", *sequence]) == [0, *expected]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
@quick
def test_sort(sequence: list[int]) -> None:
    assert run(sort(), sequence) == sorted(sequence)
    assert run(sort(bos=True), [0, *sequence]) == [0, *sorted(sequence)]


@given(LETTERS)
@quick
def test_sort_is_stable(sequence: list[str]) -> None:
    assert run(sort(indices, tokens), sequence) == sorted(range(len(sequence)), key=sequence.__getitem__)


@given(LETTERS)
@quick
def test_most_frequent(sequence: list[str]) -> None:
    ordered = [token for token, _ in Counter(sequence).most_common()]  # equally frequent ones as they come
    expected = ordered + ["-"] * (len(sequence) - len(ordered))
    assert run(most_frequent("-"), sequence) == expected
    assert run(most_frequent("-", bos=True), ["§", *sequence]) == ["§", *expected]


def verdicts(sequence: list[str], pairs: tuple[str, ...]) -> list[str]:
    """Return each prefix's verdict, by a stack."""
    stack, found, broken = [], [], False
    for token in sequence:
        for opener, closer in pairs:
            if token == opener:
                stack.append(closer)
            elif token == closer:
                broken |= not stack or stack.pop() != closer
        found.append("F" if broken else "P" if stack else "T")
    return found


@st.composite
def brackets(draw: st.DrawFn, k: int) -> list[str]:
    """Draw a sequence that matches for the most part: random ones break at once."""
    sequence: list[str] = []
    for _ in range(draw(st.integers(1, 6))):
        at, kind = draw(st.integers(0, len(sequence))), draw(st.integers(0, k - 1))
        sequence[at:at] = draw(st.sampled_from([list(PAIRS[kind]), ["x"]]))
    for _ in range(draw(st.integers(0, 2))):
        sequence[draw(st.integers(0, len(sequence) - 1))] = draw(st.sampled_from("".join(PAIRS[:k])))
    return sequence


@given(brackets(1))
@quick
def test_dyck_1(sequence: list[str]) -> None:
    assert run(dyck_1(), sequence) == verdicts(sequence, PAIRS[:1])


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("program", [dyck, dyck_without_best])
def test_dyck_k(program, k: int) -> None:
    seen = Counter()

    @given(brackets(k))
    @quick
    def check(sequence: list[str]) -> None:
        found = run(program(k), sequence)
        assert found == verdicts(sequence, PAIRS[:k])
        seen.update(found)

    check()
    assert min(seen[verdict] for verdict in "TPF") > 10


def test_so_many_kinds_of_brackets_there_are_not() -> None:
    with pytest.raises(ConfigError, match="1 to 4 kinds"):
        dyck(5)


@pytest.mark.parametrize(
    ("program", "sequence", "printed"),
    [
        (histogram(bos=True), "§hiya how are you doing there ey", "03232633162246331613211613424643"),
        (double_histogram(bos=True), "§dkdnvdlvnksmncksnsknvkjns", "02121224211141411111121411"),
        (sort(bos=True), "§dfgfhfghDVSHRDFHdfsfsfegDGDFHDFG", "§DDDDDFFFGGHHHRSVddeffffffggghhss"),
        (most_frequent(bos=True), "§dnv,dmnvs,alaadslksmvxlmvlskd", "§dvslman,kx§§§§§§§§§§§§§§§§§§§"),
    ],
)
def test_agrees_with_the_authors_interpreter(program, sequence: str, printed: str) -> None:
    assert "".join(map(str, run(program, sequence))) == printed
