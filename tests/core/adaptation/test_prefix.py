"""Trained start states: those of real tokens are as if the tokens had been read, and peft's are peft's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from toy_language import KEY_HEADS, make_ids, make_language, make_llama

from omniform.adaptation.prefix import Prefixed, add_prefix
from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers import (
    Attention,
    DeltaNet,
    GatedDeltaNet,
    GatedLinearAttention,
    LinearAttention,
    Mamba,
    Mamba2,
    Mixer,
    Retention,
)
from omniform.positions import Alibi

STATEFUL = (Attention, DeltaNet, GatedDeltaNet, GatedLinearAttention, LinearAttention, Mamba, Mamba2, Retention)


@pytest.mark.parametrize("mixer", STATEFUL)
def test_the_empty_state_is_the_base(mixer: type[Mixer]) -> None:
    model, ids = make_language(mixer), make_ids()
    before = model(ids)
    add_prefix(model.backbone, model.backbone.init_state(1))
    torch.testing.assert_close(model(ids), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mixer", STATEFUL)
def test_starts_as_if_the_prompt_had_been_read(mixer: type[Mixer]) -> None:
    model, ids, prompt = make_language(mixer), make_ids(), make_ids(1, 5, seed=2)
    expected = model(torch.cat([prompt.expand(2, -1), ids], dim=1))[:, 5:]
    add_prefix(model.backbone, model.start(prompt))
    torch.testing.assert_close(model(ids), expected, rtol=1e-4, atol=1e-4)
    state, parts = model.backbone.init_state(2), []
    for chunk in ids.split([1, 4, 6], dim=1):
        logits, state = model.extend(chunk, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mixer", STATEFUL)
def test_everything_remembered_gets_a_gradient(mixer: type[Mixer]) -> None:
    model = make_language(mixer)
    added = add_prefix(model.backbone, model.start(make_ids(1, 5)))
    model(make_ids()).square().sum().backward()
    for module in added:
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.start.values())


@pytest.mark.parametrize("mixer", STATEFUL)
def test_padding_is_not_seen(mixer: type[Mixer]) -> None:
    base = mixer.make(32, grid=(8,), axes=("ordered",), causal=True).eval()
    prompt, x = torch.randn(1, 3, 32), torch.randn(2, 8, 32)
    with torch.no_grad():
        prefixed = Prefixed(base, base.extend(prompt, base.init_state(1))[1])
        mask = torch.tensor([[False, True, True, True, True, False, False, False], [True] * 8])
        told = prefixed(x, Layout((8,), mask=mask))
        torch.testing.assert_close(told[:1, 1:5], prefixed(x[:1, 1:5], Layout((4,))), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(told[1:], prefixed(x[1:], Layout((8,))), rtol=1e-4, atol=1e-4)


def test_a_bias_sees_the_prompt_at_its_places() -> None:
    attention = Attention(32, num_heads=4, causal=True, bias=Alibi(4))
    prompt, x = torch.randn(1, 3, 32), torch.randn(2, 6, 32)
    expected = attention(torch.cat([prompt.expand(2, -1, -1), x], dim=1), Layout((9,)))[:, 3:]
    prefixed = Prefixed(attention, attention.extend(prompt, attention.init_state(1))[1])
    assert set(prefixed.start) == {"keys", "values"}
    torch.testing.assert_close(prefixed(x, Layout((6,))), expected, rtol=1e-4, atol=1e-5)


def test_survives_a_copy_and_a_state_dict() -> None:
    model = make_language()
    add_prefix(model.backbone, model.start(make_ids(1, 4)))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(make_ids()), model(make_ids()))


def test_refuses_a_mixer_without_a_state() -> None:
    attention = Attention(32)
    with pytest.raises(IncompatibleError, match="no state to train"):
        Prefixed(attention, attention.init_state(1))


def test_gives_the_logits_of_peft() -> None:
    from peft import PrefixTuningConfig, TaskType, get_peft_model

    peer, ours, counterparts = make_llama()
    ids = make_ids()
    torch.testing.assert_close(ours(ids), peer(ids).logits, rtol=1e-4, atol=1e-5)
    tuned = get_peft_model(peer, PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=5))
    table: nn.Parameter = tuned.prompt_encoder["default"].embedding.weight
    added = add_prefix(ours.backbone, ours.start(make_ids(1, 5)))
    per_layer = table.detach().unflatten(1, (2 * len(added), KEY_HEADS, -1)).permute(1, 2, 0, 3)  # (2 N, K, p, d)
    with torch.no_grad():
        for index, module in enumerate(added):
            rows = counterparts[f"backbone.layers.{index}.branches.0.op.key"].rows
            assert rows is not None
            keys = per_layer[2 * index].transpose(0, 1).flatten(1)[:, rows]
            module.start["keys"].copy_(keys.unflatten(1, (KEY_HEADS, -1)).transpose(0, 1)[None])
            module.start["values"].copy_(per_layer[2 * index + 1][None])
    with torch.no_grad():
        told, expected = ours(ids), tuned(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(told, expected, rtol=1e-4, atol=1e-5)
