from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.gated_linear_attention import cpu, gated_linear_attention

KINDS = ["none", "head", "channel"]


def make(kind, B=2, L=63, H=3, Dk=5, Dv=7, decay=1.0, dtype=torch.float64):
    """Return [q, k, v, initial_state] and the log decay of the kind, if any, behind them."""
    shapes = [(B, L, H, Dk), (B, L, H, Dk), (B, L, H, Dv), (B, H, Dk, Dv)]
    inputs = [torch.randn(shape, dtype=dtype) for shape in shapes]
    if kind != "none":
        inputs.append(-decay * torch.rand((B, L, H, Dk) if kind == "channel" else (B, L, H), dtype=dtype))
    return inputs


def run(q, k, v, state, log_decay=None, backend="cpu", **options):
    return gated_linear_attention(q, k, v, log_decay, initial_state=state, backend=backend, **options)


reference = partial(run, backend="reference")


@pytest.mark.parametrize("L", [1, 63, 130])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_equal_recurrence(agree, kind, L):
    agree(run, reference, make(kind, L=L))


@pytest.mark.parametrize("decay", [0.0, 1e-9, 50.0])
@pytest.mark.parametrize("kind", ["head", "channel"])
def test_vanishing_and_strong_decay(agree, kind, decay):
    agree(run, reference, make(kind, L=100, decay=decay))


@pytest.mark.parametrize("chunk", [1, 2, 4, 16, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_any_chunk(agree, monkeypatch, kind, chunk):
    monkeypatch.setattr(cpu, "chunked", partial(cpu.chunked, chunk=chunk))
    agree(run, reference, make(kind, L=37))


@pytest.mark.parametrize("kind", ["head", "channel"])
def test_strong_and_weak_decay_side_by_side(agree, kind):
    *inputs, decay = make(kind, L=130)
    agree(run, reference, [*inputs, torch.where(decay < -0.5, -50.0, decay / 100)])


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_close_to_float64(gradients, kind):
    """Moderate decay: 1e-5 of the largest entry; float32 rounding alone is 1e-7."""
    inputs = make(kind, L=500, Dk=24, Dv=40, decay=0.2)
    inputs = [tensor.float() for tensor in inputs]
    exact = gradients(reference, [tensor.double() for tensor in inputs])
    for actual, expected in zip(gradients(run, inputs), exact, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("shape", [(1, 512, 4), (1, 512, 4, 32)])
def test_float32_where_decay_jumps(shape):
    """Running sums of -50 leave the exponents of weak neighbours 4 digits: 1e-3 of the largest entry."""
    q, k, v = (torch.randn(1, 512, 4, 32) for _ in range(3))
    decay = torch.where(torch.rand(shape) < 0.5, -50.0, -0.01)
    out, _ = gated_linear_attention(q, k, v, decay)
    exact, _ = gated_linear_attention(q.double(), k.double(), v.double(), decay.double(), backend="reference")
    assert (out - exact).abs().max() <= 1e-3 * exact.abs().max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decay", [0.01, 100.0])
def test_no_overflow_over_4096_tokens(gradients, kind, decay):
    inputs = make(kind, B=1, L=4096, H=1, Dk=8, Dv=8, decay=decay, dtype=torch.float32)
    assert all(tensor.isfinite().all() for tensor in gradients(run, inputs))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind, backend):
    inputs = [tensor.requires_grad_() for tensor in make(kind, B=1, L=6, H=1, Dk=2, Dv=2)]
    assert torch.autograd.gradcheck(partial(run, backend=backend), inputs)


@pytest.mark.parametrize(("backend", "L"), [("reference", 3), ("cpu", 9)])
@pytest.mark.parametrize("kind", KINDS)
def test_twice_differentiable(kind, backend, L):
    inputs = [tensor.requires_grad_() for tensor in make(kind, B=1, L=L, H=1, Dk=2, Dv=1)]
    assert torch.autograd.gradgradcheck(partial(run, backend=backend), inputs)


@pytest.mark.parametrize("backend", ["auto", "reference", "cpu"])
@pytest.mark.parametrize("kind", KINDS)
def test_carried_state_continues_the_sequence(kind, backend):
    q, k, v, state, *decay = make(kind, L=70)
    whole, final = run(q, k, v, state, *decay, backend=backend)
    parts = []
    for piece in torch.arange(70).split([1, 30, 1, 38]):
        part, state = run(*(x[:, piece] for x in (q, k, v)), state, *(g[:, piece] for g in decay), backend=backend)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(state, final, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_decay_per_head_is_decay_per_channel_broadcast(backend):
    *inputs, decay = make("head", L=70)
    wide = decay.unsqueeze(-1).expand(*decay.shape, 5)
    for a, b in zip(run(*inputs, decay, backend=backend), run(*inputs, wide, backend=backend), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_without_decay_it_is_masked_dense_attention():
    q, k, v, _ = make("none", L=40)
    scores = torch.einsum("blhd,bmhd->bhlm", q, k).tril() * 0.5
    out, _ = gated_linear_attention(q, k, v, scale=0.5)
    torch.testing.assert_close(out, torch.einsum("bhlm,bmhd->blhd", scores, v), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("kind", ["head", "channel"])
def test_padding_leaves_the_state_alone(kind):
    q, k, v, state, decay = make(kind, L=20)
    _, short = run(q, k, v, state, decay)
    tail = [F.pad(x, (0, 0) * (x.ndim - 2) + (0, 50)) for x in (k, v, decay)]
    _, padded = run(torch.randn(2, 70, 3, 5).double(), *tail[:2], state, tail[2])
    torch.testing.assert_close(padded, short, atol=1e-12, rtol=1e-10)


def test_bfloat16_keeps_its_dtype_and_a_float32_state():
    inputs = make("channel", L=100, decay=0.1, dtype=torch.bfloat16)
    out, state = run(*inputs)
    exact, _ = reference(*(tensor.double() for tensor in inputs))
    assert (out.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert (out - exact).abs().max() <= 2**-8 * exact.abs().max()


def test_autocast_does_not_lower_the_precision():
    inputs = make("channel", L=100, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = run(*inputs)
    assert torch.equal(out, run(*inputs)[0])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    B=st.integers(1, 3),
    L=st.integers(1, 150),
    H=st.integers(1, 3),
    Dk=st.integers(1, 9),
    Dv=st.integers(1, 9),
    decay=st.sampled_from([0.0, 0.1, 3.0, 80.0]),
)
def test_any_shape(kind, B, L, H, Dk, Dv, decay):
    inputs = make(kind, B, L, H, Dk, Dv, decay)
    for a, b in zip(run(*inputs), reference(*inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_without_graph_break(agree, compiled, kind):
    fast = compiled(run)
    for L in (70, 90):
        agree(fast, run, make(kind, L=L))


def test_refuses_what_does_not_fit():
    q, k, v, state = make("none")
    with pytest.raises(ShapeError, match="expected k of shape"):
        gated_linear_attention(q, k[..., :4], v)
    with pytest.raises(ShapeError, match=r"log_decay of shape \(2, 63, 3\) or \(2, 63, 3, 5\)"):
        gated_linear_attention(q, k, v, q[..., :2])
    with pytest.raises(ShapeError, match="initial_state"):
        gated_linear_attention(q, k, v, initial_state=state[:1])
    with pytest.raises(ShapeError, match="L >= 1"):
        gated_linear_attention(q[:, :0], k[:, :0], v[:, :0])
    with pytest.raises(ValueError, match="backend"):
        gated_linear_attention(q, k, v, backend="cuda")
