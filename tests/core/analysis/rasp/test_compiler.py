"""Compiled programs: a transformer of this project's parts does what the interpreter does."""

from __future__ import annotations

import itertools
import random
from operator import eq, ge, le, lt
from typing import cast

import pytest
import torch
from torch import Tensor

from omniform.analysis.rasp import (
    SOp,
    Value,
    aggregate,
    best,
    everything,
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
from omniform.analysis.rasp.compiler import CompiledProgram, compile_program
from omniform.analysis.rasp.domains import Domains
from omniform.analysis.rasp.plan import Lookup, Space
from omniform.analysis.rasp.programs import (
    double_histogram,
    dyck,
    dyck_1,
    histogram,
    most_frequent,
    reverse,
    sort,
)
from omniform.analysis.rasp.staircase import make_staircase
from omniform.errors import ConfigError, DataError
from omniform.layout import Layout
from omniform.mixers.attention import Attention

BEFORE = select(indices, indices, lt)
PROGRAMS: dict[str, tuple[SOp, str | list[Value], int]] = {
    "histogram, bos": (histogram(bos=True), "§abcd", 8),
    "histogram": (histogram(), "abcd", 7),
    "reverse": (reverse(), "abcd", 8),
    "sort": (sort(), "abcde", 5),
    "sort numbers, bos": (sort(bos=True), [0, 3, -1, 7], 5),
    "double histogram, bos": (double_histogram(bos=True), "§abc", 6),
    "most frequent, bos": (most_frequent("-", bos=True), "§abc", 5),
    "dyck-1": (dyck_1(), "()x", 5),
    "dyck-2": (dyck(2), "(){}", 4),
    "elementwise": (where(is_in(tokens, "ab"), indices, tokens), "abc", 4),
    "mean with a default": (aggregate(select(tokens, "b", eq) & BEFORE, indices * 2, -1), "ab", 5),
    "name with a default": (aggregate(BEFORE & select(tokens, "a", eq), tokens, "none"), "abc", 5),
    "nothing selected": (aggregate(BEFORE & ~BEFORE, tokens), "ab", 3),
    "last number before": (aggregate(best(BEFORE & select(tokens, 2, ge), indices), tokens, 0), [1, 2, 3], 5),
    "best of equals": (aggregate(best(BEFORE, tokens), indices, 0), [1, 2], 5),
    "mean of means": (aggregate(everything, aggregate(BEFORE, indices, 3)), "ab", 4),
    "name or nothing": (aggregate(select(indices, indices - 1, eq), tokens) == "a", "ab", 5),
    "compared with nothing": (
        aggregate(select(aggregate(select(indices, length - 1, eq), tokens), tokens, lt), indices, -1),
        "abc",
        4,
    ),
    "length": (length - selector_width(~BEFORE), "ab", 6),
}


def draw(program: str, seed: int, count: int = 25) -> list[list[Value]]:
    """Draw sequences, those with a token at the beginning with it and without another."""
    generator = random.Random(seed)
    _, vocabulary, longest = PROGRAMS[program]
    if not program.endswith("bos"):
        return [generator.choices(vocabulary, k=generator.randint(1, longest)) for _ in range(count)]
    first, *others = vocabulary
    return [[first, *generator.choices(others, k=generator.randint(0, longest - 1))] for _ in range(count)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_does_what_the_interpreter_does(name: str) -> None:
    program, vocabulary, longest = PROGRAMS[name]
    compiled = compile_program(program, vocabulary, longest)
    for sequence in draw(name, seed=0):
        assert compiled.run(sequence) == run(program, sequence)
        scores = compiled(torch.tensor([[compiled.vocabulary.index(token) for token in sequence]]))
        assert scores.dtype == torch.float64
        torch.testing.assert_close(scores, scores.round(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["histogram", "reverse"])
def test_every_short_sequence(name: str) -> None:
    program = PROGRAMS[name][0]
    compiled = compile_program(program, "abc", 5)
    for size in range(1, 6):
        sequences = list(itertools.product("abc", repeat=size))
        ids = torch.tensor([["abc".index(token) for token in sequence] for sequence in sequences])
        found = compiled(ids).argmax(-1).tolist()  # in one batch
        for sequence, row in zip(sequences, found, strict=True):
            assert [compiled.results[index] for index in row] == run(program, sequence)


def test_sorts_numbers_that_differ() -> None:
    compiled = compile_program(sort(), [3, 1, 4, 5, 9, 2], 6)
    for sequence in itertools.islice(itertools.permutations([3, 1, 4, 5, 9, 2]), 0, 720, 37):
        assert compiled.run(sequence) == sorted(sequence)


@pytest.mark.parametrize("name", PROGRAMS)
def test_has_the_layers_and_heads_of_the_schedule(name: str) -> None:
    program, vocabulary, longest = PROGRAMS[name]
    attentions = [m for m in compile_program(program, vocabulary, longest).modules() if isinstance(m, Attention)]
    assert [attention.num_heads for attention in attentions] == [len(heads) for heads in schedule(program).layers]


def attention_inputs(compiled: CompiledProgram, ids: Tensor) -> list[tuple[Attention, Tensor]]:
    """Return each layer's attention with what comes into it."""
    seen: list[tuple[Attention, Tensor]] = []
    for module in compiled.modules():
        if isinstance(module, Attention):
            module.register_forward_pre_hook(lambda op, args: seen.append((cast("Attention", op), args[0])))
    compiled(ids)
    return seen


def test_its_attention_is_the_selectors() -> None:
    program, sequence = double_histogram(bos=True), "§abacb"
    compiled = compile_program(program, "§abc", 6)
    ids = torch.tensor([[compiled.vocabulary.index(token) for token in sequence]])
    layers = schedule(program).layers
    for heads, (attention, x) in zip(layers, attention_inputs(compiled, ids), strict=True):
        weights = attention.weights(x, Layout.of(x))[0, :, 1:, 1:]  # (H, L, L), without the sink
        rows = torch.tensor([run(head.selector, sequence) for head in heads], dtype=torch.float64)
        torch.testing.assert_close(weights, rows / rows.sum(-1, keepdim=True).clamp(min=1), rtol=0, atol=1e-9)


def test_what_selects_nothing_attends_to_the_sink() -> None:
    compiled = compile_program(PROGRAMS["name with a default"][0], "abc", 5)
    ((attention, x),) = attention_inputs(compiled, torch.tensor([[1, 2, 0, 1]]))
    sink = attention.weights(x, Layout.of(x))[0, 0, 1:, 0]
    torch.testing.assert_close(sink, torch.tensor([1, 1, 1, 0.0], dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_staircase_writes_its_table_and_nothing_at_the_sink(seed: int) -> None:
    generator = random.Random(seed)
    given = (Space(1, ("a", "b", "c")), Space(4, (-2, 0, 0.25, 5), numerical=True), Space(5, (0, 1), numerical=True))
    table = {values: generator.randrange(3) for values in itertools.product(*(space.values for space in given))}
    table.pop(("b", 0, 1))
    stairs = make_staircase(Lookup(given, table, Space(6, (0, 1, 2))), width=9)
    held = [[x for space, v in zip(given, values, strict=True) for x in space.encode(v)] for values in table]
    x = torch.tensor([[0.0, *row, 0, 0, 0] for row in held] + [[1.0, 0, 0, 1, 5, 1, 0, 0, 0]], dtype=torch.float64)
    y = torch.nn.functional.gelu(x @ stairs.up.T + stairs.bias) @ stairs.down.T
    expected = torch.nn.functional.one_hot(torch.tensor(list(table.values())), 3).double()
    torch.testing.assert_close(y[:-1, 6:], expected, rtol=0, atol=1e-10)
    assert not y[-1].any()
    assert not y[:, :6].any()


def test_domains_are_what_can_come_up() -> None:
    domains = Domains("ab", 3)
    share = aggregate(select(indices, indices, le), indicator(tokens == "a"))
    assert [str(value) for value in domains.of(share)] == ["0", "1/3", "1/2", "2/3", "1"]
    assert [str(value) for value in domains.of(1 / share)] == ["3", "2", "3/2", "1"]  # never of 0
    assert domains.of(aggregate(everything, tokens, "-")) == ("a", "b", "-")


@pytest.mark.parametrize(
    ("program", "vocabulary", "longest", "message"),
    [
        (aggregate(~best(BEFORE, indices), indices, 0), "ab", 3, "within one"),
        (aggregate(best(best(BEFORE, indices), tokens), indices, 0), "ab", 3, "within one"),
        (aggregate(everything, tokens), [0.5, 1.0], 3, "floats"),
        (aggregate(everything, indices, "none"), "ab", 3, "a number as the default"),
        (dyck_1(), "()", 20, "50000 combinations"),
        (tokens + 1, "ab", 3, "got none"),
        (tokens, "", 3, "got 0 and 3"),
        (tokens, "ab", 0, "got 2 and 0"),
    ],
)
def test_refuses_what_it_cannot_compile(
    program: SOp, vocabulary: str | list[Value], longest: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_program(program, vocabulary, longest)


@pytest.mark.parametrize(("sequence", "message"), [("", "1 to 3"), ("aaaa", "compile for more"), ("az", "got 'z'")])
def test_refuses_what_it_was_not_compiled_for(sequence: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compile_program(reverse(), "ab", 3).run(sequence)
