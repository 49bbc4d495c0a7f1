"""Scan and adapt: orders, lifting, and what a comparison is told."""

from math import prod

import pytest
import torch

from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.attention import Attention
from omniform.mixers.gla import GatedLinearAttention
from omniform.mixers.scan import CROSS, Scan, scan_order
from omniform.mixers.spectformer import SpectralGating

ORDERS = ("raster", "transposed", "hilbert", "z")


@pytest.mark.parametrize("grid", [(7,), (5, 3), (8, 8), (3, 4, 5)])
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_visits_every_token_once(order, grid):
    forward = scan_order(order, grid)
    assert sorted(forward.tolist()) == list(range(prod(grid)))
    assert scan_order(f"-{order}", grid).tolist() == forward.tolist()[::-1]


@pytest.mark.parametrize("grid", [(8, 8), (4, 4, 4)])
def test_hilbert_steps_to_a_neighbour(grid):
    places = torch.stack(torch.unravel_index(scan_order("hilbert", grid), grid), dim=1)
    assert (places.diff(dim=0).abs().sum(dim=1) == 1).all()


def test_scan_equals_its_parts():
    torch.manual_seed(0)
    scan = Scan(8, GatedLinearAttention, orders=CROSS).double().eval()
    x = torch.randn(2, 3, 4, 8, dtype=torch.float64)
    flat, total = x.flatten(1, 2), torch.zeros(2, 12, 8, dtype=torch.float64)
    transposed = torch.arange(12).reshape(3, 4).T.reshape(-1)
    for mixer, index in zip(
        scan.mixers, [torch.arange(12), torch.arange(12).flip(0), transposed, transposed.flip(0)], strict=True
    ):
        total[:, index] += mixer(flat[:, index], Layout((12,))) / 4
    torch.testing.assert_close(scan(x, Layout.of(x)), total.unflatten(1, (3, 4)))


def test_adapt_says_what_it_did():
    assert isinstance(adapt(Attention, 16, grid=(5,)), Attention)
    assert adapt(GatedLinearAttention, 16, grid=(5,), causal=True).causal
    both = adapt(GatedLinearAttention, 16, grid=(5,))
    assert "scanned along raster, -raster" in both.describe()
    assert "taken as an order" in adapt(GatedLinearAttention, 16, grid=(5,), axes=("set",)).describe()
    assert "transposed" in adapt(GatedLinearAttention, 16, grid=(5, 4)).describe()
    with pytest.raises(IncompatibleError, match="one ordered axis"):
        adapt(GatedLinearAttention, 16, grid=(5, 4), causal=True)
    with pytest.raises(IncompatibleError, match="no causal form"):
        adapt(SpectralGating, 16, grid=(5,), causal=True)


def test_a_scanned_causal_mixer_sees_everything():
    torch.manual_seed(0)
    mixer = adapt(GatedLinearAttention, 8, grid=(3, 4)).double()
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixer(x, Layout.of(x))[0, 1, 2].sum(), x)
    assert (gradient.abs().sum(dim=-1) > 0).all()
