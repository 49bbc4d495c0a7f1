from functools import partial

import pytest
import torch
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.short_convolution import short_convolution


def make(L=63, C=5, K=4, dtype=torch.float64):
    """Return [x, weight, bias, initial_state]."""
    return [torch.randn(shape, dtype=dtype) for shape in ((2, L, C), (C, K), (C,), (2, K - 1, C))]


def run(x, weight, bias, state, backend="cpu"):
    return short_convolution(x, weight, bias, initial_state=state, backend=backend)


@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.parametrize("L", [1, 2, 63, 130])
def test_shifts_equal_windows(agree, L, K):
    agree(run, partial(run, backend="reference"), make(L, K=K))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_equals_conv1d(backend):
    x, weight, bias, _ = make()
    expected = F.conv1d(F.pad(x.transpose(1, 2), (3, 0)), weight.unsqueeze(1), bias, groups=5).transpose(1, 2)
    torch.testing.assert_close(short_convolution(x, weight, bias, backend=backend)[0], expected)


@pytest.mark.parametrize("pieces", [[63], [1] * 63, [1, 2, 0, 20, 40], [30, 33]])
def test_any_partition_equals_one_call(pieces):
    x, weight, bias, state = make()
    whole, final = run(x, weight, bias, state)
    parts = []
    for piece in x.split(pieces, dim=1):
        part, state = run(piece, weight, bias, state)
        parts.append(part)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert torch.equal(state, final)


def test_gradcheck():
    inputs = [tensor.requires_grad_() for tensor in make(L=5, C=2, K=3)]
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_keeps_the_dtype_of_x():
    x, weight, bias, _ = make(dtype=torch.float32)
    y, state = short_convolution(x.bfloat16(), weight, bias)
    assert y.dtype == state.dtype == torch.bfloat16


def test_compiles_without_graph_break(agree, compiled):
    fast = compiled(run)
    for L in (20, 30):
        agree(fast, run, make(L))


def test_refuses_what_does_not_fit():
    x, weight, bias, state = make()
    with pytest.raises(ShapeError, match="expected weight of shape"):
        short_convolution(x, weight[:3])
    with pytest.raises(ShapeError, match="expected bias of shape"):
        short_convolution(x, weight, bias[:3])
    with pytest.raises(ShapeError, match="initial_state"):
        short_convolution(x, weight, initial_state=state[:, :2])
    with pytest.raises(ShapeError, match="weight"):
        short_convolution(x, weight[:, :0])
    with pytest.raises(ValueError, match="backend"):
        short_convolution(x, weight, backend="cuda")
