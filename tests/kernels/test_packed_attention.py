from functools import partial
from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.packed_attention import cpu, packed_attention
from omniform_kernels.packed_attention.op import _backward, _forward

RAGGED = [1, 0, 63, 7, 0]


def starts(lengths):
    return torch.tensor([0, *accumulate(lengths)])


def make(T, S=None, *, H=4, K=4, D=8, dtype=torch.float64):
    S = T if S is None else S
    return [torch.randn(n, heads, D, dtype=dtype) for n, heads in ((T, H), (S, K), (S, K))]


def alone(lengths, q, k, v, causal=False):
    """Run torch's attention on each sequence by itself, heads repeated."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    parts = [
        F.scaled_dot_product_attention(*(x[a:b].transpose(0, 1) for x in (q, k, v)), is_causal=causal).transpose(0, 1)
        for a, b in pairwise(starts(lengths).tolist())
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("H", "K", "D"), [(4, 4, 8), (4, 2, 40), (3, 1, 72)])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_equals_torch_on_each_sequence(agree, backend, H, K, D, causal):
    lengths = RAGGED if backend == "cpu" else [5, 1, 9]
    inputs = make(sum(lengths), H=H, K=K, D=D)
    ours = partial(packed_attention, cu_seqlens=starts(lengths), causal=causal, backend=backend)
    agree(ours, partial(alone, lengths, causal=causal), inputs)


def test_equals_torch_on_padded_sequences_under_a_mask():
    lengths, L = torch.tensor([4, 9, 1]), 9
    mask = torch.arange(L) < lengths[:, None]
    q, k, v = (torch.randn(3, L, 2, 8, dtype=torch.float64) for _ in range(3))
    padded = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), mask[:, None, None])
    packed = packed_attention(q[mask], k[mask], v[mask], starts(lengths.tolist()))
    torch.testing.assert_close(packed, padded.transpose(1, 2)[mask])


FORMS = {
    "plain": {},
    "causal": {"causal": True},
    "slopes": {"slopes": True},
    "causal-slopes": {"causal": True, "slopes": True},
}


def form(options, H, dtype, device="cpu"):
    slopes = torch.linspace(0.1, 1.0, H, dtype=dtype, device=device) if options.get("slopes") else None
    return {"causal": options.get("causal", False), "slopes": slopes, "scale": 0.3}


@pytest.mark.parametrize("key_lengths", [None, [3, 2, 70, 4, 0]], ids=["self", "cross"])
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_plain_form_equals_the_definition(agree, options, key_lengths):
    inputs = make(sum(RAGGED), key_lengths and sum(key_lengths), K=2)
    offsets = {"cu_seqlens": starts(RAGGED), "cu_seqlens_k": key_lengths and starts(key_lengths)}
    run = partial(packed_attention, **offsets, **form(options, 4, torch.float64))
    agree(partial(run, backend="cpu"), partial(run, backend="reference"), inputs)


@pytest.mark.parametrize("key_lengths", [None, [3, 2, 70, 4, 0]], ids=["self", "cross"])
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_blocks_of_queries_change_nothing(agree, monkeypatch, options, key_lengths):
    monkeypatch.setattr(cpu, "_SCORES", 0)  # the fewest queries a block may have
    test_plain_form_equals_the_definition(agree, options, key_lengths)


@pytest.mark.parametrize("key_lengths", [None, [3, 2, 70, 4, 0]], ids=["self", "cross"])
@pytest.mark.parametrize(("H", "K", "D"), [(2, 2, 16), (4, 2, 40), (2, 1, 72)])
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_triton_equals_the_definition(agree, options, H, K, D, key_lengths, device):
    inputs = make(sum(RAGGED), key_lengths and sum(key_lengths), H=H, K=K, D=D, dtype=torch.float32)
    keys = key_lengths and starts(key_lengths).to(device)
    options = form(options, H, torch.float32, device)
    run = partial(packed_attention, cu_seqlens=starts(RAGGED).to(device), cu_seqlens_k=keys, **options)
    inputs = [x.to(device) for x in inputs]
    agree(partial(run, backend="triton"), partial(run, backend="reference"), inputs, 2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_triton_on_a_long_sequence(agree, causal, device):
    inputs = [x.to(device) for x in make(501, H=1, K=1, D=16, dtype=torch.float32)]
    run = partial(packed_attention, cu_seqlens=starts([500, 1]).to(device), causal=causal)
    agree(partial(run, backend="triton"), partial(run, backend="reference"), inputs, 2e-5)


@pytest.mark.parametrize("slopes", [None, torch.tensor([0.01, 0.3])], ids=["plain", "slopes"])
@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_bfloat16_is_as_close_as_its_rounding(gradients, backend, slopes, device):
    """Weights and outputs are rounded to 2^-9 of their values, gradients a few times on the way."""
    inputs = [x.to(device) for x in make(300, H=2, K=1, D=16, dtype=torch.bfloat16)]
    slopes = None if slopes is None else slopes.to(device)
    run = partial(packed_attention, cu_seqlens=starts([290, 10]).to(device), causal=True, slopes=slopes)
    actual = gradients(partial(run, backend=backend), inputs)
    exact = gradients(partial(run, backend="reference"), [x.double() for x in inputs])
    for a, e in zip(actual, exact, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a - e).abs().max() <= 2**-6 * e.abs().max()


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_large_scores_do_not_overflow(agree, backend, device):
    inputs = [10 * x.to(device) for x in make(20, H=1, K=1, D=16, dtype=torch.float32)]
    run = partial(packed_attention, cu_seqlens=starts([20]).to(device))
    agree(partial(run, backend=backend), partial(run, backend="reference"), inputs, 1e-4)


def test_autocast_changes_nothing(agree):
    inputs = make(20, dtype=torch.float32)
    run = partial(packed_attention, cu_seqlens=starts([13, 7]), slopes=torch.rand(4), backend="cpu")

    def cast(*tensors):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return run(*tensors)

    agree(cast, run, inputs, 1e-7)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_bias_is_added_and_differentiated(agree, backend, causal):
    lengths, T = [3, 8, 0, 5], 16
    table = torch.randn(4, T, T, dtype=torch.float64)

    def biased(q, k, v, table):
        def bias(rows, columns):
            return table[:, rows[:, None], columns]

        return packed_attention(q, k, v, starts(lengths), bias=bias, causal=causal, backend=backend)

    def whole(q, k, v, table):
        sequence = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
        seen = sequence[:, None] == sequence
        seen = seen.tril() if causal else seen
        scores = torch.einsum("mhd,nhd->hmn", q, k) / 8**0.5 + table
        return torch.einsum("hmn,nhd->mhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)

    agree(biased, whole, [*make(T), table])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradcheck(backend):
    q, k, v = (x.requires_grad_() for x in make(5, 6, H=2, K=1, D=3))
    slopes = torch.tensor([0.3, 0.7], dtype=torch.float64)
    run = partial(
        packed_attention, cu_seqlens=starts([3, 2]), cu_seqlens_k=starts([2, 4]), causal=True, slopes=slopes,
        backend=backend,
    )  # fmt: skip
    assert torch.autograd.gradcheck(run, (q, k, v))
    if backend == "reference":
        assert torch.autograd.gradgradcheck(run, (q, k, v))


@pytest.mark.parametrize("backend", ["reference", "cpu", "triton"])
def test_no_tokens(agree, backend, device):
    inputs = [x.to(device) for x in make(0, dtype=torch.float32)]
    for lengths in ([], [0, 0]):
        run = partial(packed_attention, cu_seqlens=starts(lengths).to(device), backend=backend)
        assert run(*inputs).shape == (0, 4, 8)
    q = make(4, dtype=torch.float32)[0].to(device)
    run = partial(
        packed_attention, cu_seqlens=starts([4]).to(device), cu_seqlens_k=starts([0]).to(device), backend=backend
    )
    assert not run(q, *inputs[1:]).any()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    backend=st.sampled_from(["cpu", "triton"]),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    group=st.integers(1, 3),
    D=st.integers(1, 20),
    causal=st.booleans(),
)
def test_any_shape(on, backend, lengths, group, D, causal):
    torch.manual_seed(sum(lengths))
    inputs = make(sum(lengths), H=group, K=1, D=D, dtype=torch.float32)
    run = partial(packed_attention, *on(backend, *inputs, starts(lengths)), causal=causal)
    torch.testing.assert_close(run(backend=backend), run(backend="reference"), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_nothing_is_left_unwritten(agree, backend, poisoned, device):
    inputs = [x.to(device) for x in make(71, 79, H=2, K=1, D=12, dtype=torch.float32)]
    bounds = {"cu_seqlens": starts(RAGGED).to(device), "cu_seqlens_k": starts([3, 2, 70, 4, 0]).to(device)}
    for causal in (False, True):
        run = partial(packed_attention, **bounds, causal=causal)
        agree(partial(run, backend=backend), partial(run, backend="reference"), inputs, 2e-5)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_strided_heads_are_taken_as_they_lie(agree, backend, device):
    """A projection of all heads at once, cut into queries, keys and values; and heads outside."""
    x = torch.randn(20, 3, 2, 16, device=device)
    offsets = starts([12, 8]).to(device)

    def fused(x, backend):
        return packed_attention(*x.unbind(1), offsets, backend=backend)

    def turned(x, backend):
        return packed_attention(*x.permute(1, 2, 0, 3).contiguous().transpose(1, 2), offsets, backend=backend)

    agree(partial(fused, backend=backend), partial(fused, backend="reference"), [x], 2e-5)
    agree(partial(turned, backend=backend), partial(fused, backend="reference"), [x], 2e-5)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_custom_op_is_sound(backend, device):
    q, k, v, slopes = (x.to(device) for x in (*make(12, 12, K=2, dtype=torch.float32), torch.rand(4)))
    offsets = starts([5, 7]).to(device)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    torch.library.opcheck(_forward, (*leaves, offsets, offsets, slopes, True, 0.3, backend))
    out, denominators = _forward(q, k, v, offsets, offsets, None, False, 0.3, backend)
    arguments = (torch.ones_like(out), q, k, v, out, denominators, offsets, offsets, None, False, 0.3, backend)
    torch.library.opcheck(_backward, arguments)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_compiles_without_graph_break(agree, compiled, backend, device):
    offsets, slopes = starts([5, 7]).to(device), torch.rand(4, device=device)
    run = partial(packed_attention, cu_seqlens=offsets, causal=True, slopes=slopes, backend=backend)
    agree(compiled(run), run, [x.to(device) for x in make(12, K=2, dtype=torch.float32)], 1e-6)


def test_refuses_what_does_not_fit():
    q, k, v = make(6)
    for bad in ((q[:, :3], k[:, :2], v[:, :2]), (q[0], k, v)):
        with pytest.raises(ShapeError, match="K dividing H"):
            packed_attention(*bad, starts([6]))
    with pytest.raises(ShapeError, match="expected v of shape"):
        packed_attention(q, k, v[:5], starts([6]))
    with pytest.raises(ShapeError, match="as many keys as queries"):
        packed_attention(q, k[:5], v[:5], starts([6]))
    with pytest.raises(ShapeError, match="integers"):
        packed_attention(q, k, v, starts([6]).float())
    with pytest.raises(ValueError, match="rise from 0"):
        packed_attention(q, k, v, starts([5]))
    with pytest.raises(ValueError, match="no Triton form"):
        packed_attention(q, k, v, starts([6]), bias=lambda i, j: torch.zeros(1, len(i), len(j)), backend="triton")
