"""Which examples are made and read, how they are split, and what is refused."""

import json
from collections import Counter

import numpy as np
import pytest

from omniform.errors import ConfigError, DataError
from omniform_codegen.recursion.config import RecursionConfig
from omniform_codegen.recursion.data import find_deep, read_examples
from omniform_codegen.recursion.examples import Example, Examples
from omniform_codegen.recursion.functions import FUNCTIONS
from omniform_codegen.recursion.task import Recursion


def depths(items):
    return Counter(example.depth for example in items.examples)


@pytest.mark.parametrize("function", list(FUNCTIONS))
@pytest.mark.parametrize("mode", ["whole", "stepwise"])
def test_outputs_are_the_interpreters(make_data, function, mode):
    data, _, _ = make_data(function, mode=mode)
    interpreter = FUNCTIONS[function]
    for place, example in enumerate(data.examples):
        term = data.term(place)
        assert example.depth == interpreter.depth(term)
        steps = " ".join(example.output).split(" ; ")
        assert tuple(steps[-1].split()) == interpreter.evaluate(term)
        assert len(steps) == (1 if mode == "whole" else len(interpreter.trace(term)))


@pytest.mark.parametrize("function", ["successor", "inorder"])
def test_no_term_is_in_two_parts(make_data, function):
    _, _, splits = make_data(function, examples=300)
    inputs = [{example.input for example in part.examples} for part in (splits.train, splits.validation, splits.test)]
    assert all(inputs)
    assert not inputs[0] & inputs[1]
    assert not inputs[0] & inputs[2]
    assert not inputs[1] & inputs[2]


def test_depths_are_skewed_in_training_and_level_in_the_test(make_data):
    _, config, splits = make_data(train_depth=8, tail=8, examples=3000, skew=0.5, test_examples=20)
    train = depths(splits.train)
    share = np.array([train[depth] for depth in range(9)]) / len(splits.train)
    np.testing.assert_allclose(share, 0.5 ** np.arange(9) / (2 - 0.5**8), atol=0.03)
    assert set(depths(splits.test)) == set(range(9))
    assert set(depths(splits.test).values()) == {20}
    assert config.deep == 5  # 0.5^5 of the examples are as deep as that


def test_reweighting_levels_training_and_leaves_the_test(make_data):
    plain = make_data(train_depth=6, tail=8, examples=2000)
    level = make_data(train_depth=6, tail=8, examples=2000, reweight=True)
    share = np.array([depths(level[2].train)[depth] for depth in range(7)]) / len(level[2].train)
    np.testing.assert_allclose(share, 1 / 7, atol=0.04)
    assert level[2].test == plain[2].test
    assert level[1].deep == plain[1].deep


def test_reweighting_a_file_repeats_what_is_there(make_data, tmp_path):
    made, _, _ = make_data(train_depth=6, tail=8, examples=2000)
    path = write(tmp_path / "pairs.jsonl", [{"input": " ".join(e.input)} for e in made.part("train").examples])
    plain, level = (make_data(path, reweight=reweight) for reweight in (False, True))
    count = depths(level[2].train)
    np.testing.assert_allclose([count[d] / len(level[2].train) for d in range(7)], 1 / 7, atol=0.04)
    assert {e.input for e in level[2].train.examples} <= {e.input for e in plain[2].train.examples}
    assert (level[2].test, level[1].deep) == (plain[2].test, plain[1].deep)


def test_the_test_may_be_deeper_than_training(make_data):
    _, _, splits = make_data(train_depth=3, test_depth=5)
    assert max(depths(splits.train)) == 3
    assert max(depths(splits.test)) == 5


def test_deep_is_the_rarest_twentieth():
    def examples(*counts):
        made = tuple(Example((), (), depth) for depth, count in enumerate(counts) for _ in range(count))
        return Examples("successor", made, ("",) * len(made))

    for counts, deep in (((50, 45, 3, 2), 2), ((50, 40, 6, 4), 3), ((25, 25, 25, 25), 3), ((99, 1), 1)):
        assert find_deep(examples(*counts), RecursionConfig()) == deep


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_pairs_are_read_and_terms_stay_together(make_data, tmp_path):
    made, _, _ = make_data("inorder", train_depth=4)
    rows = [{"input": " ".join(e.input), "output": " ".join(e.output)} for e in made.examples]
    _, config, splits = make_data(write(tmp_path / "pairs.jsonl", rows), function="inorder")
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == len(made)
    inputs = [{e.input for e in part.examples} for part in (splits.train, splits.validation, splits.test)]
    assert not inputs[0] & inputs[2]
    assert not inputs[0] & inputs[1]
    assert config.function == "inorder"


def test_new_inputs_need_no_outputs(tmp_path):
    path = write(tmp_path / "new.jsonl", [{"input": "X1 X1 01"}])
    items = Recursion().predictor_items(path, RecursionConfig(function="successor"))
    assert items.examples[0].output == ("X0", "X0", "X0", "01")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("X1 01", "line 1: expected"),
        ('{"output": "X1"}', "line 1: expected"),
        ('{"input": 3}', "line 1: expected"),
        ("[1]", "line 1: expected"),
        ('{"input": "X1 X2"}', "line 1: expected 01 or X0 or X1, got 'X2'"),
        ('{"input": "X1 01", "output": "X1 01"}', "successor in mode whole gives 'X0 X0 01'"),
        ("", "empty"),
    ],
)
def test_a_broken_line_is_refused_in_a_line(tmp_path, line, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message) as refusal:
        read_examples(path, RecursionConfig())
    assert "\n" not in str(refusal.value)


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="successor, preorder"):
        read_examples("predecessor", RecursionConfig())
    with pytest.raises(ConfigError, match="one function"):
        read_examples("inorder", RecursionConfig(function="preorder"))
    few = write(tmp_path / "few.jsonl", [{"input": "X1 01"}] * 30)
    with pytest.raises(DataError, match="at least 10 different"):
        Recursion().split(read_examples(few, RecursionConfig()), RecursionConfig())


@pytest.mark.parametrize(
    "options",
    [
        {"function": "reverse"},
        {"mode": "half"},
        {"metric": "loss"},
        {"train_depth": 0},
        {"test_depth": 65},
        {"skew": 0.0},
        {"skew": 1.5},
        {"tail": -1},
        {"examples": 3},
        {"deep": 0},
        {"dropout": 1.0},
        {"data_seed": -1},
        {"context": 2},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        RecursionConfig(**options)
