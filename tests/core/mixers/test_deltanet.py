"""DeltaNet against a token-by-token account of the paper's equations, in float64."""

import pytest
import torch
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.deltanet import DeltaNet


def example(seed: int = 0) -> tuple[DeltaNet, torch.Tensor]:
    torch.manual_seed(seed)
    mixer = DeltaNet(24, num_heads=3).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer, torch.randn(2, 9, 24, dtype=torch.float64)


def by_the_book(mixer: DeltaNet, x: torch.Tensor) -> torch.Tensor:
    """Mix one sequence (L, D) with a window of four inputs and a state (8, 8) a head."""
    u = x @ mixer.input.weight.T
    beta = 1 / (1 + torch.exp(-x @ mixer.beta.weight.T))
    memory = [torch.zeros(8, 8, dtype=x.dtype) for _ in range(3)]
    outs = []
    for t in range(len(x)):
        window = [u[t - 3 + j] if t - 3 + j >= 0 else torch.zeros(72, dtype=x.dtype) for j in range(4)]
        c = sum(mixer.conv_weight[:, j] * window[j] for j in range(4))
        q, k, v = (c / (1 + torch.exp(-c))).view(3, 3, 8)
        heads = []
        for h in range(3):
            query, key = (vector / (vector @ vector + 1e-6).sqrt() for vector in (q[h], k[h]))
            erase = torch.eye(8, dtype=x.dtype) - beta[t, h] * torch.outer(key, key)
            memory[h] = erase @ memory[h] + beta[t, h] * torch.outer(key, v[h])
            y = query @ memory[h] / 8**0.5
            heads.append(y / (y.square().mean() + 1e-5).sqrt() * mixer.norm_weight)
        outs.append(mixer.out.weight @ torch.cat(heads))
    return torch.stack(outs)


def test_equals_the_recurrence():
    mixer, x = example()
    expected = torch.stack([by_the_book(mixer, row) for row in x])
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)
    state, steps = mixer.init_state(2, dtype=torch.float64), []
    for token in x.split(1, dim=1):
        y, state = mixer.extend(token, state)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=1e-9, atol=1e-9)


def test_gradients_equal_those_of_the_recurrence():
    mixer, x = example(1)
    parameters = list(mixer.parameters())
    weight = torch.randn_like(x)
    ours = torch.autograd.grad((mixer(x, Layout.of(x)) * weight).sum(), parameters)
    plain = torch.stack([by_the_book(mixer, row) for row in x])
    theirs = torch.autograd.grad((plain * weight).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_state_passes_over_padding():
    mixer, x = example(2)
    mask = torch.tensor([[True, True, False, True], [False, True, False, False]])
    _, state = mixer.extend(x[:, :4], mixer.init_state(2, dtype=torch.float64), Layout((4,), mask=mask))
    u = F.linear(x, mixer.input.weight)
    torch.testing.assert_close(state.inputs[0], u[0, [0, 1, 3]])
    torch.testing.assert_close(state.inputs[1, 2], u[1, 1])
    assert not state.inputs[1, :2].any()
    _, alone = mixer.extend(x[1:, 1:2], mixer.init_state(1, dtype=torch.float64))
    torch.testing.assert_close(state.memory[1:], alone.memory)


def test_a_new_value_takes_the_place_of_the_old_one():
    """With beta = 1 a key answers with its last value, where linear attention answers with the sum of all."""
    torch.manual_seed(3)
    mixer = DeltaNet(16, num_heads=1).double()
    with torch.no_grad():
        mixer.conv_weight.zero_()
        mixer.conv_weight[:, -1] = 1
        mixer.beta.weight.zero_()
        mixer.beta.weight[0, 0] = 1e3
        mixer.input.weight.zero_()
        mixer.input.weight[:32, 1] = torch.randn(32)  # the same query and key for all tokens
        mixer.input.weight[32:] = torch.randn(16, 16)
    x = torch.randn(1, 5, 16, dtype=torch.float64)
    x[..., :2] = 1
    _, state = mixer.extend(x, mixer.init_state(1, dtype=torch.float64))
    _, last = mixer.extend(x[:, -1:], mixer.init_state(1, dtype=torch.float64))
    torch.testing.assert_close(state.memory, last.memory, rtol=1e-5, atol=1e-5)


def test_refuses_heads_that_do_not_divide_the_width():
    with pytest.raises(ConfigError, match="divide the width 24"):
        DeltaNet(24, num_heads=5)
