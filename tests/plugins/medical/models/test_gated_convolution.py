"""Gated convolution against the recursion written out in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_medical.models.gated_convolution import GatedBlock, GatedConvolution


def written_out(layer: GatedConvolution, x: Tensor) -> Tensor:
    """Compute each order voxel by voxel: channel sums for the projections, shifted sums for the depthwise kernels."""

    def project(conv, x: Tensor) -> Tensor:
        return torch.einsum("oc,bcxyz->boxyz", conv.weight[..., 0, 0, 0], x) + conv.bias[:, None, None, None]

    def depthwise(x: Tensor) -> Tensor:
        kernel, padded = layer.depthwise.weight[:, 0], F.pad(x, (1,) * 6)
        total = torch.zeros_like(x) + layer.depthwise.bias[:, None, None, None]
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    window = padded[:, :, i : i + x.shape[2], j : j + x.shape[3], k : k + x.shape[4]]
                    total = total + kernel[:, i, j, k, None, None, None] * window
        return total

    order = len(layer.widths)
    both = project(layer.project_in, x)
    p, q = both[:, : layer.widths[0]], depthwise(both[:, layer.widths[0] :])
    start = 0
    for k in range(order):
        p = p if k == 0 else project(layer.widen[k - 1], p)
        p = p * q[:, start : start + layer.widths[k]]
        start += layer.widths[k]
    return project(layer.project_out, p)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_the_recursion_written_out(order: int):
    torch.manual_seed(order)
    layer = GatedConvolution(3, 12, order=order).double()
    assert layer.widths == [12, 6, 3][:order][::-1]
    x = torch.randn(2, 12, 5, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), written_out(layer, x), rtol=1e-10, atol=1e-12)


def test_the_order_is_the_degree_of_the_interaction():
    """Without biases, n gatings make a form of degree n + 1: scaling the input scales the output by its power."""
    torch.manual_seed(0)
    for order in (1, 2, 3):
        layer = GatedConvolution(2, 8, order=order).double()
        for name, parameter in layer.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
        x = torch.randn(1, 8, 6, 5, dtype=torch.float64)
        torch.testing.assert_close(layer(2 * x), 2 ** (order + 1) * layer(x))


def test_the_order_is_lowered_where_channels_run_out():
    layer = GatedConvolution(3, 4, order=6)
    assert layer.widths == [1, 2, 4]
    assert layer(torch.randn(1, 4, 3, 1, 2)).shape == (1, 4, 3, 1, 2)


def test_the_block_begins_close_to_plain_convolutions():
    torch.manual_seed(0)
    block, x = GatedBlock(3, 8, 10, order=2), torch.randn(2, 8, 5, 4, 3)
    gated = block(x)
    block.scale.data.zero_()
    torch.testing.assert_close(gated, block(x), rtol=0, atol=1e-4)
    block.scale.data.fill_(1)
    assert (gated - block(x)).abs().max() > 1e-2
