from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.swiglu import swiglu
from omniform_kernels.swiglu.op import _backward, _forward

FORMS = ["cpu", "native", "triton"]
FUSED = FORMS[1:]


def make(*shape, dtype=torch.float32, scale=1.0):
    return [scale * torch.randn(shape, dtype=dtype) for _ in range(2)]


def halves(x, backend):
    """Gate by the halves of one tensor, as a perceptron does."""
    return swiglu(*x.chunk(2, dim=-1), backend=backend)


def test_plain_form_equals_the_definition(agree):
    agree(partial(swiglu, backend="cpu"), partial(swiglu, backend="reference"), make(3, 5, 7, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1,), (3, 63), (2, 3, 500), (2, 1100), (0, 5), (2, 0)])
@pytest.mark.parametrize("backend", FORMS)
def test_equals_the_definition(agree, backend, shape, on):
    inputs = on(backend, *make(*shape, scale=4.0))
    agree(partial(swiglu, backend=backend), partial(swiglu, backend="reference"), inputs, 2e-6)


@pytest.mark.parametrize("backend", FORMS)
def test_halves_and_transposed_tensors_are_taken_as_they_lie(agree, backend, on):
    (x,) = on(backend, torch.randn(3, 5, 14))
    agree(partial(halves, backend=backend), partial(halves, backend="reference"), [x], 2e-6)
    turned = [x.transpose(0, 2).detach() for _ in range(2)]
    agree(partial(swiglu, backend=backend), partial(swiglu, backend="reference"), turned, 2e-6)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # numpy's, of the interpreter
@pytest.mark.parametrize("backend", FORMS)
def test_extreme_gates_do_not_overflow(agree, backend, on):
    gate = torch.tensor([-1e30, -200.0, -88.5, -20.0, 0.0, 20.0, 88.5, 200.0, 1e30])
    inputs = on(backend, gate, torch.full_like(gate, 2.0))
    agree(partial(swiglu, backend=backend), lambda g, u: F.silu(g) * u, inputs, 2e-6)


def test_gradcheck_twice():
    inputs = [x.requires_grad_() for x in make(3, 5, dtype=torch.float64)]
    for backend in ("reference", "cpu"):
        assert torch.autograd.gradcheck(partial(swiglu, backend=backend), inputs)
        assert torch.autograd.gradgradcheck(partial(swiglu, backend=backend), inputs)


@pytest.mark.parametrize("backend", FUSED)
def test_fused_gradients_may_be_differentiated(agree, backend, on):
    def slope(gate, up, backend):
        gate, up = gate.requires_grad_(), up.requires_grad_()
        return torch.autograd.grad(swiglu(gate, up, backend=backend).sum(), (gate, up), create_graph=True)

    inputs = on(backend, *make(3, 5))
    agree(partial(slope, backend=backend), partial(slope, backend="reference"), inputs, 2e-6)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_bfloat16_is_rounded_once(gradients, backend, device):
    """Half a unit in the last place is 2^-9 of the value; the interpreter cuts off instead of rounding."""
    inputs = [x.to(device) for x in make(4, 33, dtype=torch.bfloat16)]
    actual = gradients(partial(swiglu, backend=backend), inputs)
    exact = gradients(partial(swiglu, backend="reference"), [x.double() for x in inputs])
    for a, e in zip(actual, exact, strict=True):
        assert a.dtype == torch.bfloat16
        assert ((a - e).abs() <= 2**-7 * e.abs() + 2**-8 * e.abs().max()).all()


@pytest.mark.parametrize("backend", FORMS)
def test_only_the_inputs_are_kept_for_the_backward_pass(backend, on):
    gate, up = (x.requires_grad_() for x in on(backend, *make(8, 16)))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.data_ptr()) or x, lambda x: x):
        swiglu(gate, up, backend=backend)
    assert set(kept) == {gate.data_ptr(), up.data_ptr()}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(backend=st.sampled_from(["cpu", "auto", "triton"]), N=st.integers(0, 9), C=st.integers(0, 70))
def test_any_shape(on, backend, N, C):
    torch.manual_seed(N + C)
    gate, up = on(backend, *make(N, C))
    torch.testing.assert_close(swiglu(gate, up, backend=backend), swiglu(gate, up, backend="reference"))


@pytest.mark.parametrize("form", FUSED)
def test_nothing_is_left_unwritten(agree, form, on, poisoned):
    inputs = on(form, *make(5, 33))
    agree(partial(swiglu, backend=form), partial(swiglu, backend="reference"), inputs, 2e-6)


@pytest.mark.parametrize("form", FUSED)
def test_custom_op_is_sound(form, on):
    gate, up, dout = on(form, *torch.randn(3, 4, 20))
    torch.library.opcheck(_forward, (gate.clone().requires_grad_(), up.clone().requires_grad_(), form))
    torch.library.opcheck(_backward, (dout, gate, up, form))


@pytest.mark.parametrize("backend", FORMS)
def test_compiles_without_graph_break(agree, compiled, backend, on):
    function = partial(halves, backend=backend)
    agree(compiled(function), function, on(backend, torch.randn(6, 20)), 1e-6)


def test_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="expected up of shape"):
        swiglu(torch.randn(3, 4), torch.randn(3, 5))
    with pytest.raises(ShapeError, match="single number"):
        swiglu(torch.tensor(1.0), torch.tensor(1.0))
    with pytest.raises(ValueError, match="cannot run"):
        swiglu(*make(2, 3, dtype=torch.float64), backend="native")
