"""What is declared trains; everything else stays, to the bit."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.nn import functional as F
from toy_language import make_ids, make_language

from omniform.adaptation.selection import begin, trained_tensors
from omniform.adaptation.settings import Adaptation, Method
from omniform.errors import ConfigError
from omniform.mixers import Attention, GatedLinearAttention, Mamba, Mixer
from omniform.training.optimizer import make_optimizer

LINEAR = {"op.query", "op.key", "op.value", "op.out"}, {"op.gate_up", "op.down"}
LAYERS = [f"backbone.layers.{index}.branches.{branch}" for index in range(2) for branch in range(2)]
MAPS = {f"backbone.layers.{i}.branches.{b}.{end}" for i in range(2) for b in range(2) for end in LINEAR[b]}
DECLARED = {
    "full": {"stem.weight", "head.weight", "backbone.norm.weight"}
    | {f"{layer}.norm.weight" for layer in LAYERS}
    | {f"{name}.weight" for name in MAPS},
    "adapter": {f"{name}.{part}" for name in MAPS for part in ("down", "up")},
    "prefix": {f"backbone.layers.{i}.branches.0.op.start_{part}" for i in range(2) for part in ("keys", "values")},
    "bias": {f"{name}.bias" for name in MAPS},
    "embeddings": {"stem.weight", "head.weight"},
    "last-layer": {f"{layer}.norm.weight" for layer in LAYERS[2:]}
    | {f"{name}.weight" for name in MAPS if ".layers.1." in name},
}


@pytest.mark.parametrize("method", get_args(Method))
def test_the_declared_parameters_train_and_no_other(method: Method) -> None:
    model, ids = make_language(tied=False), make_ids(4, 12)
    base = {name: value.clone() for name, value in model.state_dict().items()}
    names = begin(model, Adaptation(method=method, rank=2, prefix_length=3), start=model.start(make_ids(1, 3)))
    assert set(names) == DECLARED[method] == set(trained_tensors(model))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = make_optimizer(model, learning_rate=1e-2, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, start[name])}
    assert changed == DECLARED[method]
    plain = {name.replace(".base.", ".").replace(".op.mixer.", ".op."): value for name, value in start.items()}
    assert all(torch.equal(plain[name], value) for name, value in base.items())


@pytest.mark.parametrize("mixer", [Attention, GatedLinearAttention, Mamba])
@pytest.mark.parametrize("method", ["full", "adapter", "bias", "embeddings", "last-layer"])
def test_nothing_changes_at_first(mixer: type[Mixer], method: Method) -> None:
    model, ids = make_language(mixer), make_ids()
    before = model(ids)
    begin(model, Adaptation(method=method))
    assert torch.equal(model(ids), before)


def test_a_prefix_of_length_0_is_the_base_and_refused() -> None:
    model, ids = make_language(), make_ids()
    before = model(ids)
    with pytest.raises(ConfigError, match="longer prefix"):
        begin(model, Adaptation(method="prefix", prefix_length=0), start=model.backbone.init_state(1))
    torch.testing.assert_close(model(ids), before, rtol=1e-5, atol=1e-6)


def test_tied_token_vectors_are_counted_once() -> None:
    assert begin(make_language(tied=True), Adaptation(method="embeddings")) == ("stem.weight",)


def test_targets_choose_by_the_ends_of_names() -> None:
    names = begin(make_language(), Adaptation(targets=("op.query", "down")))
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in names} == {"query", "down"}
    with pytest.raises(ConfigError, match=r"down, gate_up, key, out, query, value\), got q_proj"):
        begin(make_language(), Adaptation(targets=("q_proj",)))


@pytest.mark.parametrize(
    "wrong", [{"method": "none"}, {"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"prefix_length": -1}]
)
def test_refuses_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Adaptation(**wrong)  # pyright: ignore[reportArgumentType]
