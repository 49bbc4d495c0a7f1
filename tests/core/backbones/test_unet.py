"""The U-Net: shapes at sizes that nothing divides, and equality with the convolutions it stands for."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from omniform.backbones import Down, UNet, Up
from omniform.channel import Convolution, Convolutions, Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.plugins import find_mixer


def _layer(rank):
    def make(level, dim):
        return Layer(Branch(Convolution(dim, rank=rank)))

    return make


@pytest.mark.parametrize(
    ("grid", "factors"),
    [((9,), [(2,), (2,)]), ((7, 10), [(2, 1), (2, 3)]), ((5, 6, 9), [(1, 2, 2), (2, 2, 2)]), ((4, 4, 1), [(2, 2, 1)])],
)
def test_levels_have_the_grids_of_the_way_down(grid, factors):
    dims = [4 * 2**level for level in range(len(factors) + 1)]
    model = UNet(
        _layer(len(grid)),
        _layer(len(grid)),
        dims=dims,
        depths=[1] * len(dims),
        decoder_depths=[1] * len(factors),
        factors=factors,
    )
    x = torch.randn(2, *grid, 4)
    features = model(x, Layout.of(x))
    expected = [grid]
    for factor in factors:
        expected.append(tuple(-(-n // f) for n, f in zip(expected[-1], factor, strict=True)))
    assert [layout.grid for layout in features.layouts] == expected
    assert [tuple(level.shape) for level in features.levels] == [
        (2, *g, d) for g, d in zip(expected, dims, strict=True)
    ]


def test_up_is_a_transposed_convolution():
    up = Up(5, 3, factors=(2, 3)).double()
    x = torch.randn(2, 4, 2, 5, dtype=torch.float64)
    weight = up.project.weight.reshape(2, 3, 3, 5).permute(3, 2, 0, 1)  # (D, D', 2, 3)
    bias = up.project.bias.reshape(2, 3, 3).permute(2, 0, 1)
    expected = F.conv_transpose2d(x.movedim(-1, 1), weight, stride=(2, 3)) + bias.repeat(1, 4, 2)
    got = up(x, Layout((8, 6))).movedim(-1, 1)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(up(x, Layout((7, 5))), got.movedim(1, -1)[:, :7, :5])


def test_every_level_has_a_say():
    """The output moves when any parameter does, and a voxel is seen from the other end of the grid."""
    torch.manual_seed(0)
    mixer = find_mixer("attention")

    def make(level, dim):
        if level < 1:
            return Layer(Branch(Convolution(dim, rank=2)))
        return Layer(Branch(mixer(dim), nn.LayerNorm(dim)), Branch(Mlp(dim, 8), nn.LayerNorm(dim)))

    model = UNet(make, make, dims=[8, 16, 32], depths=[1, 1, 1], decoder_depths=[1, 1], factors=[(2, 2), (2, 2)])
    x = torch.randn(1, 13, 11, 8, requires_grad=True)
    out = model(x, Layout.of(x)).levels[0]
    out[0, 0, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert x.grad is not None
    assert x.grad[0, -1, -1].abs().max() > 0


def test_without_mask_down_is_as_with_one_that_is_full():
    down = Down(3, 6, factors=(2, 1, 2))
    x = torch.randn(2, 5, 3, 4, 3)
    plain, layout = down(x, Layout.of(x))
    masked, full = down(x, Layout((5, 3, 4), mask=torch.ones(2, 5, 3, 4, dtype=torch.bool)))
    torch.testing.assert_close(plain, masked)
    assert layout.grid == full.grid


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolution_is_half_a_preactivation_block(rank):
    """Beside the same written for channels first, in float64."""
    torch.manual_seed(0)
    mixer = Convolution(4, rank=rank).double()
    grid = (5, 6, 7)[:rank]
    with torch.no_grad():
        mixer.norm.weight.uniform_(0.5, 2)
        mixer.norm.bias.uniform_(-1, 1)
    x = torch.randn(2, *grid, 4, dtype=torch.float64)
    y = x.movedim(-1, 1)
    axes = tuple(range(2, y.ndim))
    centred = y - y.mean(axes, keepdim=True)
    y = centred / (centred.square().mean(axes, keepdim=True) + 1e-5).sqrt()
    shape = (-1, *(1,) * rank)
    y = F.gelu(y * mixer.norm.weight.reshape(shape) + mixer.norm.bias.reshape(shape))
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    y = convolve(y, mixer.convolution.weight, mixer.convolution.bias, padding=1)
    torch.testing.assert_close(mixer(x, Layout.of(x)), y.movedim(1, -1))
    assert mixer.cost(grid).parameters == sum(p.numel() for p in mixer.parameters())


def test_convolutions_are_two_in_a_row():
    torch.manual_seed(0)
    mixer = Convolutions(4, 7, rank=2)
    x = torch.randn(2, 5, 6, 4)
    layout = Layout.of(x)
    torch.testing.assert_close(mixer(x, layout), mixer.second(mixer.first(x, layout), layout))
    assert mixer.cost((5, 6)).parameters == sum(p.numel() for p in mixer.parameters())
