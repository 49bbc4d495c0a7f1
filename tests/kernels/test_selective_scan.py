from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform_kernels.checks import ShapeError
from omniform_kernels.selective_scan import cpu, selective_scan


def make(Bt=2, L=63, Di=5, N=3, dtype=torch.float64, step=1.0):
    """Return [x, dt, A, B, C, D, initial_state]."""
    x, B, C = (torch.randn(Bt, L, size, dtype=dtype) for size in (Di, N, N))
    dt = step * torch.rand(Bt, L, Di, dtype=dtype)
    A = -torch.rand(Di, N, dtype=dtype) - 0.1
    return [x, dt, A, B, C, torch.randn(Di, dtype=dtype), torch.randn(Bt, Di, N, dtype=dtype)]


def run(x, dt, A, B, C, D, state, backend="cpu"):
    return selective_scan(x, dt, A, B, C, D, initial_state=state, backend=backend)


reference = partial(run, backend="reference")


@pytest.mark.parametrize("L", [1, 63, 130])
def test_blocks_equal_recurrence(agree, L):
    agree(run, reference, make(L=L))


@pytest.mark.parametrize("step", [0.0, 1e-9, 500.0])
def test_vanishing_and_strong_decay(agree, step):
    agree(run, reference, make(L=50, step=step))


@pytest.mark.parametrize("block", [1, 2, 7, 37, 64])
def test_any_block(agree, monkeypatch, block):
    monkeypatch.setattr(cpu, "blocked", partial(cpu.blocked, block=block))
    agree(run, reference, make(L=37))


def test_without_skip_and_initial_state(agree):
    *inputs, D, state = make(L=40)
    agree(selective_scan, lambda *args: reference(*args, torch.zeros_like(D), torch.zeros_like(state)), inputs)


@pytest.mark.parametrize("wanted", [0, 1])
def test_gradient_through_one_output_alone(agree, wanted):
    agree(lambda *args: run(*args)[wanted], lambda *args: reference(*args)[wanted], make(L=40))


def test_float32_is_close_to_float64(gradients):
    """1e-5 of the largest entry; float32 rounding alone is 1e-7."""
    inputs = make(L=500, Di=24, N=16, dtype=torch.float32)
    exact = gradients(reference, [tensor.double() for tensor in inputs])
    for actual, expected in zip(gradients(run, inputs), exact, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("step", [1e-3, 200.0])
def test_no_overflow_over_4096_tokens(gradients, step):
    inputs = make(Bt=1, L=4096, Di=4, N=4, dtype=torch.float32, step=step)
    assert all(tensor.isfinite().all() for tensor in gradients(run, inputs))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradcheck(backend):
    inputs = [tensor.requires_grad_() for tensor in make(Bt=1, L=5, Di=2, N=2)]
    assert torch.autograd.gradcheck(partial(run, backend=backend), inputs)


def test_reference_is_twice_differentiable():
    inputs = [tensor.requires_grad_() for tensor in make(Bt=1, L=3, Di=2, N=2)]
    assert torch.autograd.gradgradcheck(reference, inputs)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_carried_state_continues_the_sequence(backend):
    x, dt, A, B, C, D, state = make(L=70)
    whole, final = run(x, dt, A, B, C, D, state, backend)
    parts = []
    for piece in torch.arange(70).split([1, 30, 1, 38]):
        part, state = run(x[:, piece], dt[:, piece], A, B[:, piece], C[:, piece], D, state, backend)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(state, final, atol=1e-12, rtol=1e-10)


def test_constant_parameters_are_a_convolution():
    """With constant dt, B and C the scan is a convolution with C exp(dt A s) dt B."""
    x, _, A, _, _, _, _ = make(Bt=1, L=30, Di=1)
    dt, B, C = torch.full_like(x, 0.3), torch.ones(1, 30, 3).double(), torch.ones(1, 30, 3).double()
    y, _ = selective_scan(x, dt, A, B, C)
    lags = torch.arange(30.0, dtype=torch.float64)
    kernel = (0.3 * torch.exp(0.3 * lags[:, None] * A)).sum(-1)  # (L,)
    toeplitz = kernel[(lags[:, None] - lags).clamp(min=0).long()].tril()
    torch.testing.assert_close(y[0, :, 0], toeplitz @ x[0, :, 0], atol=1e-12, rtol=1e-10)


def test_padding_leaves_the_state_alone():
    x, dt, A, B, C, D, state = make(L=70)
    dt[:, 20:] = 0.0
    _, padded = run(x, dt, A, B, C, D, state)
    _, short = run(x[:, :20], dt[:, :20], A, B[:, :20], C[:, :20], D, state)
    torch.testing.assert_close(padded, short, atol=1e-12, rtol=1e-10)


def test_saved_memory_is_linear_in_length_and_holds_few_states():
    """For the backward pass a state per block is kept, not one per token."""
    saved = {}

    def pack(tensor):
        saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    counts = []
    for L in (512, 1024):
        saved.clear()
        inputs = [tensor.requires_grad_() for tensor in make(Bt=1, L=L, Di=8, N=16)]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run(*inputs)
        counts.append(sum(saved.values()))
    assert counts[1] <= 2 * counts[0]
    assert counts[1] < 1024 * 8 * 16


def test_bfloat16_keeps_its_dtype_and_a_float32_state():
    inputs = make(L=100, dtype=torch.bfloat16)
    y, state = run(*inputs)
    exact, _ = reference(*(tensor.double() for tensor in inputs))
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert (y - exact).abs().max() <= 2**-8 * exact.abs().max()


def test_autocast_does_not_lower_the_precision():
    inputs = make(L=40, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = run(*inputs)
    assert torch.equal(y, run(*inputs)[0])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(Bt=st.integers(1, 3), L=st.integers(1, 100), Di=st.integers(1, 9), N=st.integers(1, 9), step=st.floats(0, 100))
def test_any_shape(Bt, L, Di, N, step):
    inputs = make(Bt, L, Di, N, step=step)
    for a, b in zip(run(*inputs), reference(*inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_compiles_without_graph_break(agree, compiled):
    fast = compiled(run)
    for L in (20, 21):
        agree(fast, run, make(L=L))


def test_refuses_what_does_not_fit():
    x, dt, A, B, C, D, state = make()
    with pytest.raises(ShapeError, match="expected dt of shape"):
        selective_scan(x, dt[..., :1], A, B, C)
    with pytest.raises(ShapeError, match="expected C of shape"):
        selective_scan(x, dt, A, B, C[..., :2])
    with pytest.raises(ShapeError, match="expected D of shape"):
        selective_scan(x, dt, A, B, C, D[:2])
    with pytest.raises(ShapeError, match="initial_state"):
        selective_scan(x, dt, A, B, C, initial_state=state[:1])
    with pytest.raises(ShapeError, match="L >= 1"):
        selective_scan(x[:, :0], dt[:, :0], A, B[:, :0], C[:, :0])
    with pytest.raises(ValueError, match="backend"):
        selective_scan(x, dt, A, B, C, backend="cuda")
