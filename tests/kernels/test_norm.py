import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.norm import layer_norm, rms_norm
from omniform_kernels.norm.op import _backward, _forward

NORMS = {"rms": rms_norm, "layer": layer_norm}


def make(kind, shape=(3, 7, 20), dtype=torch.float64):
    """Return [x, residual, weight] and, for the layer norm, the bias."""
    inputs = [torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype), torch.randn(shape[-1], dtype=dtype)]
    return inputs + [torch.randn(shape[-1], dtype=dtype)] * (kind == "layer")


def run(kind, x, residual, *parameters, backend="reference"):
    return NORMS[kind](x, *parameters, residual=residual, backend=backend)


@pytest.mark.parametrize("kind", NORMS)
def test_plain_form_equals_the_definition(agree, kind):
    agree(partial(run, kind, backend="cpu"), partial(run, kind), make(kind))


@pytest.mark.parametrize("D", [1, 20, 63, 130])
@pytest.mark.parametrize("kind", NORMS)
def test_triton_equals_the_definition(agree, kind, D, device):
    inputs = [tensor.to(device) for tensor in make(kind, (3, 5, D), torch.float32)]
    agree(partial(run, kind, backend="triton"), partial(run, kind), inputs, 1e-5)


@pytest.mark.parametrize("kind", NORMS)
def test_triton_without_residual_and_parameters(agree, kind, device):
    x = torch.randn(9, 33, device=device)
    norm = NORMS[kind]
    agree(partial(norm, backend="triton"), partial(norm, backend="reference"), [x], 1e-5)
    y, total = norm(x, backend="triton")
    assert total is x
    assert y.shape == x.shape


@pytest.mark.parametrize("kind", NORMS)
def test_bfloat16_is_as_close_as_its_rounding(kind, device):
    """Half a unit in the last place is 2^-9 of the value; the interpreter cuts off instead of rounding."""
    inputs = [tensor.to(device) for tensor in make(kind, dtype=torch.bfloat16)]
    y, total = run(kind, *inputs, backend="triton")
    exact, exact_total = run(kind, *(tensor.double() for tensor in inputs))
    assert y.dtype == total.dtype == torch.bfloat16
    assert (y - exact).abs().max() <= 2**-7 * exact.abs().max()
    assert (total - exact_total).abs().max() <= 2**-7 * exact_total.abs().max()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("kind", NORMS)
def test_narrow_tokens_take_wide_parameters(kind, backend):
    """As under autocast: computed in float32, without a word from torch, and returned in the tokens' dtype."""
    x, residual, *parameters = make(kind, dtype=torch.float32)
    narrow = [x.bfloat16(), residual.bfloat16()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, total = run(kind, *narrow, *parameters, backend=backend)
    assert y.dtype == total.dtype == torch.bfloat16
    exact, _ = run(kind, total.double(), None, *(parameter.double() for parameter in parameters))
    assert (y - exact).abs().max() <= 2**-8 * exact.abs().max()


def test_equals_torch():
    x, weight, bias = torch.randn(4, 9).double(), torch.randn(9).double(), torch.randn(9).double()
    torch.testing.assert_close(rms_norm(x, weight, eps=0.1, backend="reference")[0], F.rms_norm(x, (9,), weight, 0.1))
    expected = F.layer_norm(x, (9,), weight, bias, 0.1)
    torch.testing.assert_close(layer_norm(x, weight, bias, eps=0.1, backend="reference")[0], expected)


@pytest.mark.parametrize("kind", NORMS)
def test_gradcheck_twice(kind):
    inputs = [tensor.requires_grad_() for tensor in make(kind, (2, 5))]
    assert torch.autograd.gradcheck(partial(run, kind), inputs)
    assert torch.autograd.gradgradcheck(partial(run, kind), inputs)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(kind=st.sampled_from(sorted(NORMS)), N=st.integers(0, 9), D=st.integers(1, 70), scale=st.floats(1e-3, 1e3))
def test_any_shape(device, kind, N, D, scale):
    x, residual, *parameters = (tensor.to(device) for tensor in make(kind, (N, D), torch.float32))
    actual, expected = (run(kind, scale * x, residual, *parameters, backend=form) for form in ("triton", "reference"))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, atol=1e-4, rtol=1e-4)


def test_custom_op_is_sound(device):
    x, residual, weight, bias = (tensor.to(device) for tensor in make("layer", (4, 20), torch.float32))
    inputs = [tensor.requires_grad_() for tensor in (x, residual, weight, bias)]
    torch.library.opcheck(_forward, (*inputs, 1e-5, True))
    torch.library.opcheck(_forward, (x, None, None, None, 1e-6, False))
    mean, rstd = x.detach().mean(1), x.detach().std(1)
    torch.library.opcheck(_backward, (x.detach(), None, residual.detach(), weight.detach(), True, mean, rstd, True))


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_compiles_without_graph_break(agree, compiled, kind, backend, device):
    function = partial(run, kind, backend=backend)
    inputs = [tensor.to(device) for tensor in make(kind, (6, 20), torch.float32)]
    agree(compiled(function), function, inputs, 1e-6)


def test_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="expected weight of shape"):
        rms_norm(torch.randn(3, 5), torch.randn(4))
    with pytest.raises(ShapeError, match="expected residual of shape"):
        rms_norm(torch.randn(3, 5), residual=torch.randn(3, 4))
    with pytest.raises(ShapeError, match="D >= 1"):
        layer_norm(torch.randn(3, 0))
    with pytest.raises(ValueError, match="no C\\+\\+ form"):
        rms_norm(torch.randn(3, 5), backend="native")
    with pytest.raises(ValueError, match="backend"):
        rms_norm(torch.randn(3, 5), backend="cuda")
