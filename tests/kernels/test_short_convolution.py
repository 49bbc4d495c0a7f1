from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.short_convolution import short_convolution
from omniform_kernels.short_convolution.op import _backward, _forward

BACKENDS = ["cpu", "native", "triton"]
BOUNDS = {"cpu": (torch.float64, 1e-10), "native": (torch.float32, 1e-5), "triton": (torch.float32, 1e-5)}


def make(L=63, C=5, K=4, dtype=torch.float64, B=2, S=2):
    """Return [x, weight, bias, initial_state]."""
    return [torch.randn(shape, dtype=dtype) for shape in ((B, L, C), (C, K), (C,), (S, K - 1, C))]


def run(x, weight, bias, state, backend="cpu", **options):
    return short_convolution(x, weight, bias, initial_state=state, backend=backend, **options)


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize(("L", "C", "K"), [(1, 5, 4), (2, 5, 4), (3, 1, 2), (63, 20, 1), (130, 5, 3), (500, 6, 4)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_definition(agree, backend, L, C, K, activation, on, poisoned):
    dtype, bound = BOUNDS[backend]
    B = 1 if L > 400 else 2  # an interpreter takes its time
    inputs = on(backend, *make(L, C, K, dtype, B=B, S=B))
    call = partial(run, activation=activation)
    agree(partial(call, backend=backend), partial(call, backend="reference"), inputs, bound)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bias_and_state_are_optional(agree, backend, on):
    dtype, bound = BOUNDS[backend]
    inputs = on(backend, *make(dtype=dtype)[:2])
    call = partial(short_convolution, activation="silu")
    agree(partial(call, backend=backend), partial(call, backend="reference"), inputs, bound)


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("cuts", [[0, 63], [0, 0, 1, 1, 3, 40, 63, 63], [0, 30, 33, 63]])
@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_equals_one_call_for_each_sequence(agree, backend, cuts, activation, on, poisoned):
    """Sequences of no and of fewer tokens than the filter has taps among them."""
    dtype, bound = BOUNDS[backend]
    *inputs, cu_seqlens = on(backend, *make(dtype=dtype, B=1, S=len(cuts) - 1), torch.tensor(cuts))

    def alone(x, weight, bias, state):
        parts = zip(x.split([b - a for a, b in pairwise(cuts)], 1), state.split(1), strict=True)
        outs = [run(one, weight, bias, old, "reference", activation=activation) for one, old in parts]
        return torch.cat([y for y, _ in outs], 1), torch.cat([final for _, final in outs])

    agree(partial(run, backend=backend, activation=activation, cu_seqlens=cu_seqlens), alone, inputs, bound)
    agree(partial(run, backend="reference", activation=activation, cu_seqlens=cu_seqlens), alone, inputs, bound)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    B=st.integers(0, 3),
    L=st.integers(0, 40),
    C=st.integers(1, 70),
    K=st.integers(1, 6),
    backend=st.sampled_from(["cpu", "auto", "triton"]),
    activation=st.sampled_from([None, "silu"]),
)
def test_any_shape(on, B, L, C, K, backend, activation):
    inputs = on(backend, *make(L, C, K, torch.float32, B, B))
    call = partial(run, *inputs, activation=activation)
    for actual, expected in zip(call(backend=backend), call(backend="reference"), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_equals_conv1d(backend):
    x, weight, bias, _ = make()
    expected = F.conv1d(F.pad(x.transpose(1, 2), (3, 0)), weight.unsqueeze(1), bias, groups=5).transpose(1, 2)
    torch.testing.assert_close(short_convolution(x, weight, bias, backend=backend)[0], expected)


@pytest.mark.parametrize("pieces", [[63], [1] * 63, [1, 2, 0, 20, 40], [30, 33]])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_any_partition_equals_one_call(pieces, dtype):
    x, weight, bias, state = make(dtype=dtype)
    call = partial(run, backend="auto", activation="silu")
    whole, final = call(x, weight, bias, state)
    parts = []
    for piece in x.split(pieces, dim=1):
        part, state = call(piece, weight, bias, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert torch.equal(state, final)


@pytest.mark.parametrize("cu_seqlens", [None, torch.tensor([0, 1, 1, 5])], ids=["plain", "packed"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradcheck_twice(backend, cu_seqlens):
    B, S = (2, 2) if cu_seqlens is None else (1, 3)
    inputs = [tensor.requires_grad_() for tensor in make(L=5, C=2, K=3, B=B, S=S)]
    call = partial(run, backend=backend, cu_seqlens=cu_seqlens, activation="silu")
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_bfloat16_is_rounded_only_at_the_end(gradients, backend, device):
    """2^-7 of the largest entry: half a unit in the last place is 2^-9, which an interpreter cuts off."""
    x, weight, bias, state = (tensor.to(device) for tensor in make(dtype=torch.float32))
    inputs = [x.bfloat16(), weight, bias, state.bfloat16()]
    call = partial(run, activation="silu")
    exact = gradients(partial(call, backend="reference"), [tensor.double() for tensor in inputs])
    for actual, expected in zip(gradients(partial(call, backend=backend), inputs), exact, strict=True):
        assert (actual - expected).abs().max() <= 2**-7 * expected.abs().max()
    y, final = run(*inputs, backend=backend)
    assert y.dtype == final.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1e-30, 30.0, 1e4])
def test_silu_of_anything_is_finite(gradients, backend, scale, on):
    inputs = [scale * tensor for tensor in on(backend, *make(L=20, dtype=torch.float32))]
    call = partial(run, activation="silu", backend=backend)
    for actual in gradients(call, inputs):
        assert actual.isfinite().all()


def test_an_old_state_stays_usable():
    x, weight, bias, state = make(dtype=torch.float32)
    before = state.clone()
    _, final = run(x, weight, bias, state, "auto")
    kept = final.clone()
    x.zero_()
    assert torch.equal(final, kept)
    assert torch.equal(state, before)


@pytest.mark.parametrize("form", ["native", "triton"])
def test_custom_op_is_sound(form, on):
    inputs = on(form, *make(9, B=1, dtype=torch.float32))
    offsets = torch.tensor([0, 4, 9], device=inputs[0].device)
    torch.library.opcheck(_forward, (*(x.clone().requires_grad_() for x in inputs), offsets, True, form))
    torch.library.opcheck(_forward, (*(x.clone().requires_grad_() for x in inputs[:2]), None, None, None, False, form))
    torch.library.opcheck(_backward, (torch.ones_like(inputs[0]), *inputs, offsets, True, form))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_without_graph_break(agree, compiled, backend, packed, on):
    dtype, bound = BOUNDS[backend]
    options = {"cu_seqlens": on(backend, torch.tensor([0, 4, 20]))[0]} if packed else {}
    call = partial(run, backend=backend, activation="silu", **options)
    fast = compiled(call)
    for L in (20,) if packed else (20, 30):
        agree(fast, call, on(backend, *make(L, dtype=dtype, B=2 - packed)), bound)


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
    with pytest.raises(ShapeError, match="expected cu_seqlens"):
        short_convolution(x, weight, cu_seqlens=torch.tensor([0, 63]))
    with pytest.raises(ValueError, match="rise from 0 to the 63 tokens"):
        short_convolution(x[:1], weight, cu_seqlens=torch.tensor([0, 60]))
    with pytest.raises(ValueError, match='expected activation "silu"'):
        short_convolution(x, weight, activation="gelu")
    with pytest.raises(ValueError, match="backend"):
        short_convolution(x, weight, backend="cuda")
