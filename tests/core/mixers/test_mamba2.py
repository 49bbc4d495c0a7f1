"""Mamba-2's block against the public implementation on copied weights, and the contract of mixers."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.mamba2 import Mamba2

HEADS, GROUPS, STATES = 4, 2, 12


def example(seed: int = 0, dim: int = 20) -> tuple[Mamba2, Tensor]:
    torch.manual_seed(seed)
    mixer = Mamba2(dim, head_dim=2 * dim // HEADS, num_groups=GROUPS, num_states=STATES).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return mixer, torch.randn(2, 9, dim, dtype=torch.float64)


def peer(mixer: Mamba2) -> torch.nn.Module:
    """Return the public mixer with our weights, in float64."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=mixer.dim,
        num_heads=HEADS,
        head_dim=mixer.head_dim,
        state_size=STATES,
        n_groups=GROUPS,
        num_hidden_layers=1,
        chunk_size=4,
    )
    theirs = Mamba2Mixer(config, 0).double()
    for name, ours in places(mixer).items():
        weight = theirs.get_parameter(name)
        weight.data.copy_(ours.detach().view_as(weight))
    return theirs


def places(mixer: Mamba2) -> dict[str, Tensor]:
    """Return our parameters by the names that the public mixer gives them."""
    return {
        "in_proj.weight": mixer.input.weight,
        "conv1d.weight": mixer.conv_weight,
        "conv1d.bias": mixer.conv_bias,
        "dt_bias": mixer.step_bias,
        "A_log": mixer.A_log,
        "D": mixer.D,
        "norm.weight": mixer.norm_weight,
        "out_proj.weight": mixer.out.weight,
    }


def test_equals_the_public_mixer():
    """Which works in float32 in places: 1e-5."""
    mixer, x = example()
    theirs = peer(mixer)
    weight = torch.randn_like(x)
    ours_y, theirs_y = mixer(x, Layout.of(x)), theirs(x)
    torch.testing.assert_close(ours_y, theirs_y, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad((ours_y * weight).sum(), list(places(mixer).values()))
    expected = torch.autograd.grad((theirs_y * weight).sum(), [theirs.get_parameter(name) for name in places(mixer)])
    for name, a, b in zip(places(mixer), ours, expected, strict=True):
        torch.testing.assert_close(a, b.view_as(a), rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def by_the_book(mixer: Mamba2, x: Tensor) -> Tensor:
    """Mix one sequence (L, D) token by token, head by head."""
    inner, size = 2 * mixer.dim, mixer.head_dim
    outs = []
    memory = torch.zeros(HEADS, STATES, size, dtype=x.dtype)
    history = torch.zeros(4, inner + 2 * GROUPS * STATES, dtype=x.dtype)
    for token in x:
        projected = mixer.input.weight @ token
        z, u, delta = projected[:inner], projected[inner:-HEADS], projected[-HEADS:]
        history = torch.cat([history[1:], u[None]])
        mixed = (mixer.conv_weight.T * history).sum(0) + mixer.conv_bias
        mixed = mixed * torch.sigmoid(mixed)
        B = mixed[inner : inner + GROUPS * STATES].view(GROUPS, STATES)
        C = mixed[inner + GROUPS * STATES :].view(GROUPS, STATES)
        heads = []
        for h in range(HEADS):
            group = h * GROUPS // HEADS
            v = mixed[h * size : (h + 1) * size]
            dt = torch.log1p(torch.exp(delta[h] + mixer.step_bias[h]))
            memory = memory.clone()
            memory[h] = torch.exp(-dt * torch.exp(mixer.A_log[h])) * memory[h] + torch.outer(B[group], dt * v)
            heads.append(C[group] @ memory[h] + mixer.D[h] * v)
        y = (torch.cat(heads) * z * torch.sigmoid(z)).view(GROUPS, -1)
        y = y / torch.sqrt(y.square().mean(1, keepdim=True) + 1e-5)
        outs.append(mixer.out.weight @ (y.flatten() * mixer.norm_weight))
    return torch.stack(outs)


def test_equals_the_recurrence():
    mixer, x = example(1)
    expected = torch.stack([by_the_book(mixer, row) for row in x])
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)
    state, steps = mixer.init_state(2, dtype=torch.float64), []
    for token in x.split(1, dim=1):
        y, state = mixer.extend(token, state)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=1e-9, atol=1e-9)


def test_state_keeps_the_last_valid_inputs():
    mixer, x = example(2)
    mask = torch.tensor([[True, True, False, True], [False, True, False, False]])
    _, state = mixer.extend(x[:, :4], mixer.init_state(2, dtype=torch.float64), Layout((4,), mask=mask))
    u = F.linear(x, mixer.input.weight)[..., 2 * mixer.dim : -HEADS]
    torch.testing.assert_close(state.inputs[0], u[0, [0, 1, 3]])
    torch.testing.assert_close(state.inputs[1, 2], u[1, 1])
    assert not state.inputs[1, :2].any()
    _, alone = mixer.extend(x[1:, 1:2], mixer.init_state(1, dtype=torch.float64))
    torch.testing.assert_close(state.memory[1:], alone.memory)


def test_starts_as_the_authors_code():
    torch.manual_seed(3)
    mixer = Mamba2(2048, num_states=1)
    assert (mixer.head_dim, mixer.num_heads) == (64, 64)
    rate, step = mixer.A_log.exp(), F.softplus(mixer.step_bias)
    assert 1 <= rate.min() < 4
    assert 13 < rate.max() <= 16
    assert step.min() >= 0.99e-3
    assert step.max() <= 1.01e-1
    assert abs(step.log().mean().item() - math.log(1e-2)) < 0.5  # the middle of a log-uniform draw
    assert mixer.D.eq(1).all()


def test_refuses_heads_that_do_not_fit():
    with pytest.raises(ConfigError, match="inner width 40"):
        Mamba2(20, head_dim=7)
    with pytest.raises(ConfigError, match="2 groups"):
        Mamba2(20, head_dim=40, num_groups=2)
