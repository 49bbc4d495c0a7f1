"""Retention against the parallel form of the paper, in float64 and complex numbers."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.retention import Retention
from omniform_kernels.gated_linear_attention import gated_linear_attention


def complex_heads(y: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return (B, H, L, K / 2): neighbouring channels as real and imaginary part."""
    pairs = torch.view_as_complex(y.unflatten(-1, (num_heads, -1, 2)).contiguous())
    return pairs.transpose(1, 2)


def finish(mixer: Retention, heads: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Norm each head (B, H, L, V) over its channels, gate and project."""
    centred = heads - heads.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + mixer.norm.eps).sqrt()
    joined = torch.cat(normed.unbind(1), dim=-1) * mixer.norm.weight + mixer.norm.bias
    return mixer.out(F.silu(mixer.gate(x)) * joined)


def example(seed: int = 0) -> tuple[Retention, torch.Tensor]:
    torch.manual_seed(seed)
    mixer = Retention(24, num_heads=3).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer, torch.randn(2, 10, 24, dtype=torch.float64)


def test_equals_the_parallel_form():
    mixer, x = example()
    theta = 10000 ** (-torch.arange(4, dtype=torch.float64) / 3)
    turn = torch.exp(1j * torch.arange(10)[:, None] * theta)  # (L, K / 2)
    q, k = (complex_heads(linear(x), 3) * turn for linear in (mixer.query, mixer.key))
    scores = (q @ k.mH).real / 8**0.5  # (B, H, L, L)
    gap = torch.arange(10)[:, None] - torch.arange(10)
    decay = torch.stack([torch.where(gap >= 0, (1 - 2.0 ** (-5 - h)) ** gap.double(), 0) for h in range(3)])  # D
    v = mixer.value(x).unflatten(-1, (3, 16)).transpose(1, 2)
    expected = finish(mixer, (scores * decay) @ v, x)
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)


def test_steps_equal_the_complex_recurrence():
    """The paper's recurrence keeps the rotation in the state: S_n = gamma e^(i theta) S_(n-1) + conj(k)^T v."""
    mixer, x = example(1)
    spin = torch.exp(1j * 10000 ** (-torch.arange(4, dtype=torch.float64) / 3))
    gamma = 1 - 2.0 ** (-5 - torch.arange(3, dtype=torch.float64))
    q, k = complex_heads(mixer.query(x), 3), complex_heads(mixer.key(x), 3).conj()
    v = mixer.value(x).unflatten(-1, (3, 16)).transpose(1, 2)
    memory = torch.zeros(2, 3, 4, 16, dtype=torch.complex128)
    state = mixer.init_state(2, dtype=torch.float64)
    for t in range(10):
        memory = gamma[:, None, None] * spin[:, None] * memory + k[:, :, t, :, None] * v[:, :, t, None, :]
        read = torch.einsum("bhk,bhkv->bhv", q[:, :, t], memory).real / 8**0.5
        y, state = mixer.extend(x[:, t : t + 1], state)
        expected = finish(mixer, read[:, :, None], x[:, t : t + 1])
        torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    assert state.position.tolist() == [10, 10]


def test_without_rotation_is_gated_linear_attention_of_constant_decay(monkeypatch):
    mixer, x = example(2)
    monkeypatch.setattr(mixer, "_angles", lambda position, x: x.new_zeros(*x.shape[:2], 1, 4))
    q, k, v = (linear(x).unflatten(-1, (3, -1)) for linear in (mixer.query, mixer.key, mixer.value))
    gamma = torch.tensor([1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128], dtype=torch.float64)
    log_decay = gamma.log()[:, None].expand(2, 10, 3, 8)  # the same for every key channel
    out, _ = gated_linear_attention(q, k, v, log_decay, backend="reference")
    torch.testing.assert_close(mixer(x, Layout.of(x)), finish(mixer, out.transpose(1, 2), x), rtol=1e-9, atol=1e-9)


def test_only_the_distance_of_tokens_matters():
    mixer, x = example(3)
    start = mixer.init_state(2, dtype=torch.float64)
    late = replace(start, position=start.position + torch.tensor([1000, 31]))
    torch.testing.assert_close(mixer.extend(x, late)[0], mixer.extend(x, start)[0], rtol=1e-8, atol=1e-8)


def test_refuses_heads_of_odd_size():
    with pytest.raises(ConfigError, match="even size"):
        Retention(9, num_heads=3)
