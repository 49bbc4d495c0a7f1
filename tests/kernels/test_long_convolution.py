from functools import partial

import pytest
import torch
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.long_convolution import long_convolution

reference = partial(long_convolution, backend="reference")


def make(grid, causal, dtype=torch.float64):
    """Return [x, filters], the filters as long as they may be."""
    taps = grid if causal else tuple(2 * n - 1 for n in grid)
    return [torch.randn(2, *grid, 3, dtype=dtype), torch.randn(*taps, 3, dtype=dtype)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("grid", [(1,), (63,), (130,), (7, 10), (1, 9), (3, 4, 5)])
def test_fourier_equals_direct(agree, grid, causal):
    agree(partial(long_convolution, causal=causal), partial(reference, causal=causal), make(grid, causal))


@pytest.mark.parametrize("causal", [True, False])
def test_short_filters(agree, causal):
    x, filters = make((20, 11), causal)
    filters = filters[:5, :3]
    agree(partial(long_convolution, causal=causal), partial(reference, causal=causal), [x, filters])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_rank_1_equals_conv1d(backend):
    x, filters = make((30,), True)
    kernel = filters.t().flip(-1).unsqueeze(1)  # conv1d correlates
    expected = F.conv1d(F.pad(x.transpose(1, 2), (29, 0)), kernel, groups=3).transpose(1, 2)
    torch.testing.assert_close(long_convolution(x, filters, backend=backend), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_centred_rank_2_equals_conv2d(backend):
    x, filters = make((6, 7), False)
    kernel = filters.movedim(-1, 0).flip(-1, -2).unsqueeze(1)
    expected = F.conv2d(x.movedim(-1, 1), kernel, padding=(5, 6), groups=3).movedim(1, -1)
    actual = long_convolution(x, filters, causal=False, backend=backend)
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-10)


def test_causal_looks_back_only():
    x, filters = make((8, 9), True)
    x.requires_grad_()
    (seen,) = torch.autograd.grad(long_convolution(x, filters)[0, 3, 4].sum(), x)
    assert seen[0, :4, :5].abs().min() > 1e-6
    seen[:, :4, :5] = 0
    assert seen.abs().max() < 1e-12


@pytest.mark.parametrize("causal", [True, False])
def test_gradcheck_twice(causal):
    inputs = [tensor.requires_grad_() for tensor in make((3,), causal)]
    assert torch.autograd.gradcheck(partial(long_convolution, causal=causal), inputs)
    assert torch.autograd.gradgradcheck(partial(long_convolution, causal=causal), inputs)


def test_float32_is_close_to_float64():
    """1e-5 of the largest entry at 4096 tokens."""
    x, filters = make((4096,), True, torch.float32)
    exact = long_convolution(x.double(), filters.double())
    assert (long_convolution(x, filters) - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_bfloat16_is_rounded_only_at_the_end():
    x, filters = make((50,), True, torch.bfloat16)
    wide = long_convolution(x.float(), filters.float())
    assert torch.equal(long_convolution(x, filters), wide.bfloat16())


def test_compiles_without_graph_break(agree, compiled):
    call = partial(long_convolution, causal=False)
    fast = compiled(call)
    for grid in ((5, 6), (7, 4)):
        agree(fast, call, make(grid, False))


def test_refuses_what_does_not_fit():
    x, filters = make((8, 9), True)
    with pytest.raises(ShapeError, match="filters"):
        long_convolution(x, filters[..., :2])
    with pytest.raises(ShapeError, match="1 to 8 taps"):
        long_convolution(x, torch.randn(9, 9, 3).double())
    with pytest.raises(ShapeError, match="an odd number of taps up to 15"):
        long_convolution(x, filters, causal=False)
    with pytest.raises(ValueError, match="backend"):
        long_convolution(x, filters, backend="cuda")
