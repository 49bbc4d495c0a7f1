"""Linear attention against its quadratic form and its recurrence, in float64."""

import pytest
import torch

from omniform.errors import ConfigError, IncompatibleError
from omniform.layout import Layout
from omniform.mixers.linear_attention import LinearAttention


def projected(mixer: LinearAttention, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return phi(q), phi(k), v as (B, H, L, K), computed from slices of the weights."""
    heads = []
    for i in range(3):
        rows = slice(i * mixer.dim, (i + 1) * mixer.dim)
        y = x @ mixer.qkv.weight[rows].T + mixer.qkv.bias[rows]
        heads.append(torch.stack(y.split(mixer.head_dim, dim=-1), dim=1))
    q, k, v = heads
    return torch.where(q > 0, q + 1, q.exp()), torch.where(k > 0, k + 1, k.exp()), v


@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_quadratic_form(causal):
    torch.manual_seed(0)
    mixer = LinearAttention(12, num_heads=3, causal=causal).double()
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    q, k, v = projected(mixer, x)
    scores = q @ k.mT  # (B, H, L, L)
    if causal:
        scores = scores.tril()
    y = (scores / scores.sum(-1, keepdim=True)) @ v
    expected = torch.cat(y.unbind(1), dim=-1) @ mixer.out.weight.T + mixer.out.bias
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-10, atol=1e-10)


def test_steps_equal_the_recurrence():
    torch.manual_seed(1)
    mixer = LinearAttention(8, num_heads=2, causal=True).double()
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    q, k, v = projected(mixer, x)
    memory, normaliser = torch.zeros(3, 2, 4, 4, dtype=torch.float64), torch.zeros(3, 2, 4, dtype=torch.float64)
    state = mixer.init_state(3, dtype=torch.float64)
    for t in range(7):
        memory = memory + k[:, :, t, :, None] * v[:, :, t, None, :]
        normaliser = normaliser + k[:, :, t]
        read = torch.einsum("bhk,bhkv->bhv", q[:, :, t], memory) / (q[:, :, t] * normaliser).sum(-1, keepdim=True)
        y, state = mixer.extend(x[:, t : t + 1], state)
        torch.testing.assert_close(y[:, 0], mixer.out(read.flatten(1)), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.memory, torch.cat([memory, normaliser[..., None]], dim=-1))


def test_equal_values_come_out_unchanged():
    """Weights sum to one, whatever queries and keys are."""
    torch.manual_seed(2)
    mixer = LinearAttention(8, num_heads=2).double()
    with torch.no_grad():
        mixer.qkv.weight[16:].zero_()
    x = torch.randn(2, 3, 4, 8, dtype=torch.float64)
    expected = mixer.out(mixer.qkv.bias[16:]).expand_as(x)
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected)


def test_a_grid_is_its_flattened_sequence():
    torch.manual_seed(3)
    mixer = LinearAttention(8)
    x = torch.randn(2, 3, 4, 8)
    flat = x.flatten(1, 2)
    torch.testing.assert_close(mixer(x, Layout.of(x)).flatten(1, 2), mixer(flat, Layout.of(flat)))


def test_normaliser_survives_half_precision_of_long_sequences():
    torch.manual_seed(4)
    mixer = LinearAttention(16, causal=True)
    x = torch.randn(1, 600, 16)
    exact = mixer(x, Layout.of(x))
    with torch.autocast("cpu", torch.bfloat16):
        rough = mixer(x, Layout.of(x))
    assert (rough.float() - exact).norm() < 0.02 * exact.norm()


def test_refusals():
    with pytest.raises(ConfigError, match="divide the width 12"):
        LinearAttention(12, num_heads=5)
    with pytest.raises(IncompatibleError, match="set axis"):
        LinearAttention(8, causal=True)(torch.zeros(1, 4, 8), Layout((4,), ("set",)))
    with pytest.raises(IncompatibleError, match="global tokens"):
        LinearAttention(8, causal=True)(torch.zeros(1, 4, 8), Layout((4,), num_global=1))
