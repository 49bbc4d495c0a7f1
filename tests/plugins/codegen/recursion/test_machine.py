"""Readings of attention made by hand, and probes of predictors whose mistakes are known."""

import numpy as np
import pytest
import torch

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.task import Size
from omniform_codegen.recursion.examples import Examples, example_of
from omniform_codegen.recursion.floors import Copy
from omniform_codegen.recursion.functions import FUNCTIONS
from omniform_codegen.recursion.machine import attention_maps, probes, read_shares, readings, swaps
from omniform_codegen.recursion.network import recursion_network
from omniform_codegen.recursion.predictions import Predictions
from omniform_codegen.recursion.terms import BINARY, TREE

SUCCESSOR = FUNCTIONS["successor"]


def examples_of(function, *texts):
    interpreter = FUNCTIONS[function]
    made = tuple(example_of(interpreter, interpreter.datatype.parse(text.split()), "whole") for text in texts)
    return Examples(function, made, ("test",) * len(made))


def test_a_head_on_the_constructor_is_told_from_one_beside_it():
    items = examples_of("successor", "X1 X1 X0 X1 01", "X0 X1 01")
    maps = np.zeros((2, 2, 12, 12))
    maps[:, 1] = 1 / (1 + np.arange(12))[:, None] * np.tri(12)  # the second head looks everywhere alike
    for row, length in enumerate((5, 3)):
        for place in range(length):
            maps[row, 0, length + place, place] = 1.0  # the first stands where the interpreter does
    first, second = read_shares([maps], items)
    assert (first.layer, first.head, first.recursive, first.other) == (0, 0, 1.0, 1.0)
    chance = np.mean([1 / (5 + i + 1) for i in range(5)] + [1 / (3 + i + 1) for i in range(3)])
    assert second.chance == pytest.approx(chance)
    assert second.recursive == pytest.approx(np.mean([1 / 6, 1 / 7]))  # the carry of the first number
    missed, _ = read_shares([np.roll(maps, 1, axis=3)], items)
    assert (missed.recursive, missed.other) == (0.0, 0.0)


def test_maps_are_those_that_the_layers_give(make_data):
    _, config, splits = make_data()
    torch.manual_seed(0)
    model = recursion_network(config, "attention").build(Size(dim=32, hidden=32, depth=2)).eval()
    ids = torch.randint(0, 6, (3, 9))
    maps = attention_maps(model, ids)
    assert [tuple(weights.shape) for weights in maps] == [(3, 2, 9, 9)] * 2
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(3, 2, 9))
    branch = model.backbone.layers[0].branches[0]
    x = model.stem(ids)
    torch.testing.assert_close(maps[0], branch.op.weights(branch.norm(x), Layout.of(x)))
    found = readings(model, splits.test)
    assert [(reading.layer, reading.head) for reading in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(0 <= reading.recursive <= 1 and reading.chance > 0 for reading in found)
    with pytest.raises(ConfigError, match="attention"):
        attention_maps(recursion_network(config, "gla").build(Size(dim=32, hidden=32, depth=1)), ids)
    with pytest.raises(ConfigError, match="whole"):
        readings(model, make_data(mode="stepwise")[2].test)


def test_every_swap_is_a_term_of_one_difference():
    term = BINARY.parse(("X1", "X0", "01"))
    assert [(place, str(other)) for place, other in swaps(BINARY, term)] == [(0, "X0 X0 01"), (1, "X1 X1 01")]
    tree = TREE.parse(("node", "a", "leaf", "leaf"))
    assert [place for place, _ in swaps(TREE, tree)] == [1] * 9


class Interpreter:
    """Say what is right up to a depth, and a copy below."""

    def __init__(self, most: int) -> None:
        self.most = most

    def predict(self, items: Examples) -> Predictions:
        return Predictions(tuple(e.output if e.depth <= self.most else e.input for e in items.examples), items)


def test_probes_tell_who_follows(make_data):
    _, _, splits = make_data(train_depth=6, tail=4, examples=400)
    right = probes(Interpreter(99), splits.test)
    assert len(right) > 20
    assert all(probe.follows and not probe.stuck for probe in right)
    wrong = probes(Interpreter(2), splits.test)
    assert all(probe.follows for probe in wrong if probe.depth <= 1 and probe.place > probe.depth)
    assert not all(probe.follows for probe in wrong)

    class Stubborn:
        def predict(self, items: Examples) -> Predictions:
            return Predictions((("01",),) * len(items), items)

    assert all(probe.stuck and not probe.follows for probe in probes(Stubborn(), splits.test))
    copied = probes(Copy().fit(splits, seed=0), splits.test)
    assert any(probe.follows for probe in copied)  # in the tail a copy is right
    assert not any(probe.follows for probe in copied if probe.place < probe.depth)
