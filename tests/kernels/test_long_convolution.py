from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
@pytest.mark.parametrize(
    ("grid", "taps"), [((500,), (15,)), ((500,), (17,)), ((20, 11), (5, 3)), ((6, 7, 9), (3, 3, 5))]
)
def test_short_filters(agree, grid, taps, causal):
    """On both sides of where the transform takes over from direct convolution, and with even numbers of taps."""
    x, filters = torch.randn(2, *grid, 3).double(), torch.randn(*taps, 3).double()
    agree(partial(long_convolution, causal=causal), partial(reference, causal=causal), [x, filters])
    if causal:
        agree(long_convolution, reference, [x, filters[1:]])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), causal=st.booleans())
def test_any_shape(data, causal):
    rank = data.draw(st.integers(1, 4))
    grid = tuple(data.draw(st.integers(1, {1: 40, 2: 12, 3: 5, 4: 3}[rank])) for _ in range(rank))
    taps = tuple(data.draw(st.integers(1, n)) for n in grid)
    taps = taps if causal else tuple(2 * n - 1 for n in taps)
    x, filters = torch.randn(2, *grid, 3).double(), torch.randn(*taps, 3).double()
    torch.testing.assert_close(long_convolution(x, filters, causal=causal), reference(x, filters, causal=causal))


def test_equals_numpy():
    x, filters = torch.randn(1, 63, 1).double(), torch.randn(63, 1).double()
    expected = np.convolve(x[0, :, 0].numpy(), filters[:, 0].numpy())[:63]
    np.testing.assert_allclose(long_convolution(x, filters)[0, :, 0].numpy(), expected, rtol=1e-10, atol=1e-12)


def test_equals_hyenas_formula(agree):
    """Transforms of twice the length, as Hyena's published code takes them."""

    def hyena(x, filters):
        n = x.shape[1]
        response = torch.fft.rfft(filters, n=2 * n, dim=0) / (2 * n)
        spectrum = torch.fft.rfft(x, n=2 * n, dim=1)
        return torch.fft.irfft(spectrum * response, n=2 * n, dim=1, norm="forward")[:, :n]

    agree(long_convolution, hyena, make((100,), True))


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
@pytest.mark.parametrize(("grid", "taps"), [((3,), (3,)), ((4, 20), (3, 19)), ((19,), (17,))])
def test_gradcheck_twice(grid, taps, causal):
    inputs = [torch.randn(shape).double().requires_grad_() for shape in ((1, *grid, 1), (*taps, 1))]
    assert torch.autograd.gradcheck(partial(long_convolution, causal=causal), inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(partial(long_convolution, causal=causal), inputs, fast_mode=True)


def test_only_the_wanted_gradient_is_computed():
    x, filters = make((100,), True)
    (alone,) = torch.autograd.grad(long_convolution(x, filters.requires_grad_()).sum(), filters)
    (both, _) = torch.autograd.grad(long_convolution(x.requires_grad_(), filters).sum(), (filters, x))
    assert torch.equal(alone, both)


def test_memory_grows_with_the_grid_not_its_square():
    saved = {}

    def pack(tensor):
        saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    counts = []
    for n in (2**13, 2**16):
        saved.clear()
        inputs = [torch.randn(shape, requires_grad=True) for shape in ((1, n, 1), (n, 1))]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = long_convolution(*inputs)
        assert y.isfinite().all()
        counts.append(sum(saved.values()))
    assert counts[1] <= 8.1 * counts[0]


def test_float32_is_close_to_float64():
    """1e-5 of the largest entry at 4096 tokens."""
    x, filters = make((4096,), True, torch.float32)
    exact = long_convolution(x.double(), filters.double())
    assert (long_convolution(x, filters) - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_bfloat16_is_rounded_only_at_the_end():
    x, filters = make((50,), True, torch.bfloat16)
    for taps in (50, 5):
        wide = long_convolution(x.float(), filters[:taps].float())
        assert torch.equal(long_convolution(x, filters[:taps]), wide.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(long_convolution(x.float(), filters[:taps].float()), wide)


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
