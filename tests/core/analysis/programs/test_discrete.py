"""Tables taken out of a network whose parameters were set by hand."""

from __future__ import annotations

import torch

from omniform.analysis.programs.discrete import Head, Lookup, discretise
from omniform.analysis.programs.model import ProgramConfig, ProgramLayer, TransformerProgram

CONFIG = ProgramConfig(
    tokens=("a", "b"),
    labels=("x", "y"),
    length=3,
    categorical_heads=1,
    numerical_heads=1,
    categorical_lookups=1,
    numerical_lookups=1,
    hidden=9,
)


def _layer(model: TransformerProgram) -> ProgramLayer:
    layer = model.layers[0]
    assert isinstance(layer, ProgramLayer)
    return layer


@torch.no_grad()
def test_reads_what_was_set() -> None:
    torch.manual_seed(0)
    model = TransformerProgram(CONFIG)
    layer = _layer(model)
    heads = layer.categorical_heads
    heads.matching.query[0] = torch.tensor([0.0, 1.0])  # position asks
    heads.matching.key[0] = torch.tensor([1.0, 0.0])  # for a token
    heads.value[0] = torch.tensor([0.0, 1.0])  # and copies its position
    heads.matching.predicate[0] = torch.eye(3)
    # the sum of position and what was copied, modulo 3: a hidden unit for each pair
    lookups = layer.categorical_lookups
    lookups.read[0] = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    pairs = [(first, second) for first in range(3) for second in range(3)]
    for unit, (first, second) in enumerate(pairs):
        lookups.weight_in[0, :, unit] = torch.eye(6)[first] + torch.eye(6)[3 + second] - 0.5
        lookups.bias_in[0, unit] = -0.25
        lookups.weight_out[0, unit] = torch.eye(3)[(first + second) % 3]

    copied, summed, added, from_sum = discretise(model).layers[0]
    assert isinstance(copied, Head)
    assert (copied.query.name, copied.key.name, copied.value.name) == ("position", "token", "position")
    assert copied.partners == (0, 1, None)  # no token is the third
    assert copied.output.values == (0, 1, 2)
    assert summed.output.numerical
    assert summed.output.values == (0, 1, 2, 3)
    assert isinstance(added, Lookup)
    assert [variable.name for variable in added.inputs] == ["position", "attention_0_0"]
    assert added.table == (0, 1, 2, 1, 2, 0, 2, 0, 1)
    assert from_sum.output.name == "sum_lookup_0_0"


@torch.no_grad()
def test_leaves_out_inputs_that_change_nothing() -> None:
    torch.manual_seed(0)
    model = TransformerProgram(CONFIG)
    lookups = _layer(model).categorical_lookups
    lookups.read[0] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # token, position
    lookups.weight_in[0, 3:] = 0.0  # from the position
    lookup = discretise(model).layers[0][2]
    assert isinstance(lookup, Lookup)
    assert len(lookup.inputs) == 1
    assert len(lookup.table) == len(lookup.inputs[0].values)


def test_weights_are_the_networks_in_thousandths() -> None:
    torch.manual_seed(1)
    model = TransformerProgram(CONFIG)
    program = discretise(model)
    weight = model.head.weight.detach()
    assert program.weights["token"] == tuple(
        tuple(round(1000 * weight[label, value].item()) for label in range(2)) for value in range(2)
    )
    assert program.weights["sum_0_0"] == (tuple(round(1000 * weight[label, -1].item()) for label in range(2)),)
    assert set(program.weights) == {variable.name for variable in program.variables}
