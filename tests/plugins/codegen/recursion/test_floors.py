"""What short-cuts can do and what they cannot."""

from dataclasses import replace

from omniform.task import Splits
from omniform_codegen.recursion.examples import Examples, example_of
from omniform_codegen.recursion.floors import Copy, Shortcut
from omniform_codegen.recursion.functions import FUNCTIONS
from omniform_codegen.recursion.metrics import exact, score

SUCCESSOR = FUNCTIONS["successor"]


def example(text):
    return example_of(SUCCESSOR, SUCCESSOR.datatype.parse(text.split()), "whole")


def fit(floor, examples):
    items = Examples("successor", tuple(examples), ("",) * len(examples))
    return floor.fit(Splits(items, items, items), seed=0)


def test_a_shortcut_is_right_up_to_the_depths_that_it_saw(make_data):
    _, config, splits = make_data(train_depth=3, test_depth=6, tail=4, examples=2000)
    said = Shortcut().fit(splits, seed=0).predict(splits.test)
    right = dict(zip((e.input for e in splits.test.examples), exact(said), strict=True))
    assert all(right[e.input] for e in splits.test.examples if e.depth <= 3 and "X0" in e.input)
    assert score(said, splits.test, 4).values()["accuracy_deep"] < 0.2
    assert config.deep == 3


def test_the_longest_beginning_is_edited(make_data):
    learnt = fit(Shortcut(), [example("X0 X1 01"), example("X1 X0 X1 01"), example("X1 X0 01")])
    assert learnt.say(("X0", "X1", "X1", "01")) == ("X1", "X1", "X1", "01")
    assert learnt.say(("X1", "X0", "X0", "01")) == ("X0", "X1", "X0", "01")
    assert learnt.say(("X1", "X1", "01")) == ("X1", "X1", "01")  # no such edit was seen: a copy


def test_copying_solves_the_traversal_that_keeps_the_order(make_data):
    for function, solved in (("preorder", True), ("inorder", False), ("postorder", False)):
        _, config, splits = make_data(function, examples=200)
        said = Copy().fit(splits, seed=0).predict(splits.test)
        accuracy = score(said, splits.test, config.deep).values()["accuracy"]
        assert (accuracy == 1.0) == solved


def test_scores_are_those_of_a_straight_count(make_data):
    _, _, splits = make_data("inorder")
    items = splits.test
    outputs = [list(e.output) for e in items.examples]
    outputs[0] = outputs[0][:-1]
    outputs[1] = [*outputs[1], "a"]
    outputs[2] = ["z", *outputs[2][1:]]
    said = Copy().fit(splits, seed=0).predict(items)
    said = replace(said, outputs=tuple(map(tuple, outputs)))
    values = score(said, items, 2).values()
    n = len(items)
    deep = [e.depth >= 2 for e in items.examples]
    assert values["accuracy"] == (n - 3) / n
    assert values["accuracy_deep"] == 1 - sum(deep[:3]) / sum(deep)
    tokens = sum(len(e.output) for e in items.examples)
    assert values["token_accuracy"] == (tokens - 2) / (tokens + 1)
