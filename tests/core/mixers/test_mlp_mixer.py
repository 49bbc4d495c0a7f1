"""MLP-Mixer's token mixing against one channel at a time, in float64."""

import pytest
import torch
from torch.nn import functional as F

from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers.mlp_mixer import MLPMixer


@pytest.mark.parametrize("grid", [(7,), (3, 4), (2, 3, 2)], ids=str)
def test_equals_the_perceptron_of_each_channel(grid):
    torch.manual_seed(0)
    mixer = MLPMixer(5, grid=grid, hidden=9).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, *grid, 5, dtype=torch.float64)
    expected = torch.empty_like(x)
    for channel in range(5):
        tokens = x[..., channel].reshape(2, -1)
        hidden = F.gelu(tokens @ mixer.up.weight.T + mixer.up.bias)
        expected[..., channel] = (hidden @ mixer.down.weight.T + mixer.down.bias).view(2, *grid)
    torch.testing.assert_close(mixer(x, Layout.of(x)), expected, rtol=1e-10, atol=1e-10)


def test_starts_with_the_variance_of_its_input():
    torch.manual_seed(1)
    mixer = MLPMixer(4, grid=(128,))
    assert mixer.up.weight.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert mixer.down.weight.std().item() == pytest.approx(256**-0.5, rel=0.05)
    assert not mixer.up.bias.any()


def test_default_cost_is_quadratic():
    small, large = (MLPMixer(16, grid=(n,)).cost((n,)) for n in (64, 128))
    assert large.flops == 4 * small.flops == 8 * 128**2 * 16
    assert large.parameters == 4 * 128**2 + 3 * 128


def test_refuses_another_grid():
    with pytest.raises(IncompatibleError, match=r"built for the grid \(4, 5\)"):
        MLPMixer(3, grid=(4, 5))(torch.zeros(1, 5, 4, 3), Layout((5, 4)))
