"""Gated linear attention against a plain loop over tokens and its limits, in float64."""

from math import exp

import pytest
import torch
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.gla import GatedLinearAttention


def example(seed: int = 0) -> tuple[GatedLinearAttention, torch.Tensor]:
    torch.manual_seed(seed)
    mixer = GatedLinearAttention(24, num_heads=3).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer, torch.randn(2, 9, 24, dtype=torch.float64)


def heads(y: torch.Tensor) -> torch.Tensor:
    return torch.stack(y.chunk(3, dim=-1), dim=1)  # (B, H, L, size)


def finish(mixer: GatedLinearAttention, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Norm each head (B, H, L, V), gate with swish and project."""
    normed = F.layer_norm(y, (8,), mixer.norm.weight, mixer.norm.bias, mixer.norm.eps)
    gate = x @ mixer.gate.weight.T + mixer.gate.bias
    return (gate * gate.sigmoid() * torch.cat(normed.unbind(1), dim=-1)) @ mixer.out.weight.T


def test_equals_the_recurrence():
    mixer, x = example()
    down, up = mixer.forget
    alpha = heads(torch.sigmoid(x @ down.weight.T @ up.weight.T + up.bias) ** (1 / 16))  # (B, H, L, K)
    q, k, v = (heads(linear(x)) for linear in (mixer.query, mixer.key, mixer.value))
    memory = torch.zeros(2, 3, 4, 8, dtype=torch.float64)
    outs = []
    for t in range(9):
        memory = alpha[:, :, t, :, None] * memory + k[:, :, t, :, None] * v[:, :, t, None, :]
        outs.append((q[:, :, t, None] @ memory)[:, :, 0] / 4**0.5)
    expected = finish(mixer, torch.stack(outs, dim=2), x)
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)
    state, steps = mixer.init_state(2, dtype=torch.float64), []
    for token in x.split(1, dim=1):
        y, state = mixer.extend(token, state)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state.memory, memory, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("bias", "decay"), [(1e4, 1.0), (0.0, 0.5 ** (1 / 16)), (-3.0, (1 + exp(3)) ** (-1 / 16))])
def test_constant_gates_give_a_decaying_quadratic_form(bias, decay):
    """A gate of one is linear attention without decay; a constant one is retention without rotation."""
    mixer, x = example(1)
    with torch.no_grad():
        mixer.forget[1].weight.zero_()
        mixer.forget[1].bias.fill_(bias)
    q, k, v = (heads(linear(x)) for linear in (mixer.query, mixer.key, mixer.value))
    gap = (torch.arange(9)[:, None] - torch.arange(9)).double()
    weights = torch.where(gap >= 0, decay**gap, 0)
    expected = finish(mixer, (q @ k.mT / 4**0.5 * weights) @ v, x)
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)


def test_gates_start_near_the_sixteenth_root_of_a_half():
    torch.manual_seed(2)
    mixer = GatedLinearAttention(64)
    gates = torch.sigmoid(mixer.forget(torch.randn(100, 64))) ** (1 / 16)
    assert (gates - 0.5 ** (1 / 16)).abs().max() < 0.02


def test_refuses_heads_without_a_key():
    with pytest.raises(ConfigError, match="two channels"):
        GatedLinearAttention(4, num_heads=4)
