"""The perceptrons against their formulas in float64, and their costs against what they hold."""

from math import pi

import pytest
import torch

from omniform.channel import Mlp, SwiGLU
from omniform.layout import Layout

DIM, HIDDEN = 6, 11


def tokens() -> torch.Tensor:
    return torch.randn(2, 5, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / pi) ** 0.5 * (x + 0.044715 * x**3)))


def exact_gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def affine(linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    y = x @ linear.weight.T
    return y if linear.bias is None else y + linear.bias


@pytest.mark.parametrize("bias", [True, False])
def test_both_forms_of_gelu(bias: bool):
    x = tokens()
    for approximate, gelu in (("none", exact_gelu), ("tanh", tanh_gelu)):
        mlp = Mlp(DIM, HIDDEN, bias=bias, approximate=approximate).double()
        expected = affine(mlp.down, gelu(affine(mlp.up, x)))
        torch.testing.assert_close(mlp(x, Layout.of(x)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_a_gate_with_and_without_biases(bias: bool):
    x, mixer = tokens(), SwiGLU(DIM, HIDDEN, bias=bias).double()
    gate, up = affine(mixer.gate_up, x).chunk(2, dim=-1)
    expected = affine(mixer.down, gate * torch.sigmoid(gate) * up)
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Mlp, SwiGLU])
@pytest.mark.parametrize("bias", [True, False])
def test_costs_count_the_biases(kind: type[Mlp] | type[SwiGLU], bias: bool):
    mixer = kind(DIM, HIDDEN, bias=bias)
    assert mixer.cost((5,)).parameters == sum(parameter.numel() for parameter in mixer.parameters())
