"""Gated DeltaNet against the layer of Qwen3-Next on copied weights, and a plain loop over tokens in float64."""

import pytest
import torch
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.gated_deltanet import GatedDeltaNet

KEY, VALUE, HEADS = 6, 12, 3


def example(seed: int = 0) -> tuple[GatedDeltaNet, torch.Tensor]:
    torch.manual_seed(seed)
    mixer = GatedDeltaNet(24, num_heads=HEADS, head_dim=KEY).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer, torch.randn(2, 9, 24, dtype=torch.float64)


def by_the_book(mixer: GatedDeltaNet, x: torch.Tensor) -> torch.Tensor:
    """Mix one sequence (L, D) with a window of four inputs and a state (K, V) a head."""
    u = x @ mixer.input.weight.T
    beta = 1 / (1 + torch.exp(-x @ mixer.beta.weight.T))
    alpha = torch.exp(-torch.exp(mixer.A_log) * torch.log1p(torch.exp(x @ mixer.step.weight.T + mixer.step.bias)))
    gate = (x @ mixer.gate.weight.T).view(-1, HEADS, VALUE)
    memory = [torch.zeros(KEY, VALUE, dtype=x.dtype) for _ in range(HEADS)]
    outs = []
    for t in range(len(x)):
        window = [u[t - 3 + j] if t - 3 + j >= 0 else torch.zeros_like(u[0]) for j in range(4)]
        c = sum(mixer.conv_weight[:, j] * window[j] for j in range(4))
        q, k, v = (c / (1 + torch.exp(-c))).split((HEADS * KEY, HEADS * KEY, HEADS * VALUE))
        q, k, v = q.view(HEADS, KEY), k.view(HEADS, KEY), v.view(HEADS, VALUE)
        heads = []
        for h in range(HEADS):
            query, key = (vector / (vector @ vector + 1e-6).sqrt() for vector in (q[h], k[h]))
            erase = torch.eye(KEY, dtype=x.dtype) - beta[t, h] * torch.outer(key, key)
            memory[h] = alpha[t, h] * erase @ memory[h] + beta[t, h] * torch.outer(key, v[h])
            y = query @ memory[h] / KEY**0.5
            y = y / (y.square().mean() + 1e-5).sqrt() * mixer.norm_weight
            heads.append(y * gate[t, h] / (1 + torch.exp(-gate[t, h])))
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


def fused(mixer: GatedDeltaNet) -> dict[str, torch.Tensor]:
    """Return our parameters as Qwen3-Next's: q, k, v and gate lie together for each head, and so do beta and step."""
    q, k, v = (part.unflatten(0, (HEADS, -1)) for part in mixer.input.weight.split(mixer.sizes))
    gate = mixer.gate.weight.unflatten(0, (HEADS, -1))
    return {
        "in_proj_qkvz.weight": torch.cat([q, k, v, gate], dim=1).flatten(0, 1),
        "in_proj_ba.weight": torch.stack([mixer.beta.weight, mixer.step.weight], dim=1).flatten(0, 1),
        "conv1d.weight": mixer.conv_weight[:, None],
        "dt_bias": mixer.step.bias,
        "A_log": mixer.A_log,
        "norm.weight": mixer.norm_weight,
        "out_proj.weight": mixer.out.weight,
    }


def test_equals_the_layer_of_qwen3_next_on_copied_weights(monkeypatch):
    """Outputs, and gradients of the input and of every weight, in float32."""
    qwen = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    from transformers import Qwen3NextConfig

    # Where fla is installed, transformers puts fla's GPU kernel in front of its own function.
    chunked = getattr(qwen.torch_chunk_gated_delta_rule, "__wrapped__", qwen.torch_chunk_gated_delta_rule)
    monkeypatch.setattr(qwen, "torch_chunk_gated_delta_rule", chunked)
    config = Qwen3NextConfig(
        hidden_size=24,
        linear_num_key_heads=HEADS,
        linear_num_value_heads=HEADS,
        linear_key_head_dim=KEY,
        linear_value_head_dim=VALUE,
        linear_conv_kernel_dim=4,
        rms_norm_eps=1e-5,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    theirs = qwen.Qwen3NextGatedDeltaNet(config, 0)
    mixer, _ = example(2)
    mixer = mixer.float()
    weights = fused(mixer)
    theirs.load_state_dict(weights)
    x = torch.randn(2, 70, 24, requires_grad=True)
    ours, expected = mixer(x, Layout.of(x)), theirs(x)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    gradient = torch.randn_like(x)
    parameters = list(mixer.parameters())
    ours = torch.autograd.grad(ours, [x, *parameters], gradient)
    fused_parameters = [theirs.get_parameter(name) for name in weights]
    dx, *grads = torch.autograd.grad(expected, [x, *fused_parameters], gradient)
    expected = [dx, *torch.autograd.grad(list(weights.values()), parameters, grads)]  # taken apart again
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_state_passes_over_padding():
    mixer, x = example(3)
    mask = torch.tensor([[True, True, False, True], [False, True, False, False]])
    _, state = mixer.extend(x[:, :4], mixer.init_state(2, dtype=torch.float64), Layout((4,), mask=mask))
    torch.testing.assert_close(state.inputs[0], F.linear(x[0, [0, 1, 3]], mixer.input.weight))
    _, alone = mixer.extend(x[1:, 1:2], mixer.init_state(1, dtype=torch.float64))
    torch.testing.assert_close(state.memory[1:], alone.memory)


def test_starts_as_the_paper_says():
    torch.manual_seed(4)
    mixer = GatedDeltaNet(4096, num_heads=256)
    step = F.softplus(mixer.step.bias)
    assert step.min() >= 0.99e-3
    assert step.max() <= 1.01e-1
    assert 0.4 < (step < 1e-2).float().mean() < 0.6  # half of a log-uniform draw lies below the geometric middle
    assert 6.5 < mixer.A_log.exp().mean() < 9.5
    assert (mixer.head_dim, mixer.gate.weight.shape) == (12, (6144, 4096))  # 3/4 and 3/2 of the width, over all heads


def test_refuses_sizes_below_one():
    with pytest.raises(ConfigError, match="divide the width 24"):
        GatedDeltaNet(24, num_heads=5)
    with pytest.raises(ConfigError, match="head_dim, expand and taps >= 1"):
        GatedDeltaNet(24, head_dim=0)
