"""Spectral gating against a circular convolution written as a sum, in float64."""

from itertools import product

import pytest
import torch

from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers.spectformer import SpectralGating

GRIDS = [(6,), (7,), (4, 5), (5, 4), (2, 3, 4), (3, 2, 5)]


def example(grid: tuple[int, ...]) -> tuple[SpectralGating, torch.Tensor]:
    torch.manual_seed(0)
    mixer = SpectralGating(3, grid=grid).double()
    with torch.no_grad():
        mixer.weight.copy_(torch.randn_like(mixer.weight))
    return mixer, torch.randn(2, *grid, 3, dtype=torch.float64)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_equals_a_circular_convolution(grid):
    mixer, x = example(grid)
    axes = tuple(range(len(grid)))
    taps = torch.fft.irfftn(torch.view_as_complex(mixer.weight.detach()), s=grid, dim=axes)  # (*grid, D)
    expected = torch.zeros_like(x)
    for shift in product(*map(range, grid)):
        expected += taps[shift] * x.roll(shift, dims=tuple(a + 1 for a in axes))
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_weights_of_one_are_the_identity(grid):
    mixer, x = example(grid)
    with torch.no_grad():
        mixer.weight.copy_(torch.tensor([1.0, 0.0]).expand_as(mixer.weight))
    torch.testing.assert_close(mixer(x, Layout.of(x)), x)


def test_half_precision_is_transformed_in_single():
    mixer, x = example((6, 5))
    exact = mixer(x, Layout.of(x))
    rough = mixer.to(torch.bfloat16)(x.to(torch.bfloat16), Layout.of(x))
    assert rough.dtype == torch.bfloat16
    assert (rough.double() - exact).norm() < 0.01 * exact.norm()


def test_refuses_another_grid():
    mixer, _ = example((4, 5))
    with pytest.raises(IncompatibleError, match=r"built for the grid \(4, 5\)"):
        mixer(torch.zeros(1, 4, 6, 3).double(), Layout((4, 6)))
