import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.delta_rule import cpu, delta_rule, native
from omniform_kernels.delta_rule.op import _backward, _forward, _step

FORMS = ["cpu", "native", "triton"]
DTYPES = {"reference": torch.float64, "cpu": torch.float64, "native": torch.float32, "triton": torch.float32}
BOUNDS = {torch.float64: 1e-10, torch.float32: 3e-6}
"""Of the largest entry, or of 1: rounding alone is 2e-16 and 1e-7, and sums of 100 terms stand behind each entry."""


def make(B=2, L=63, H=3, Dk=5, Dv=7, decay=1.0, dtype=torch.float64, S=None):
    """Return [q, k, v, beta, log_decay, initial_state] with keys of length one."""
    q, k = torch.randn(2, B, L, H, Dk, dtype=torch.float64)
    inputs = [
        q,
        F.normalize(k, dim=-1),
        torch.randn(B, L, H, Dv),
        2 * torch.rand(B, L, H),
        -decay * torch.rand(B, L, H),
    ]
    return [tensor.to(dtype) for tensor in (*inputs, torch.randn(S or B, H, Dk, Dv))]


def run(q, k, v, beta, log_decay, state, backend="cpu", **options):
    return delta_rule(q, k, v, beta, log_decay, initial_state=state, backend=backend, **options)


reference = partial(run, backend="reference")


@pytest.fixture
def check(agree, device, monkeypatch, poison):
    """Assert that a form equals the definition in float64, in outputs and gradients, and leaves nothing unwritten."""

    def compare(form, inputs, bound=None, **options):
        dtype = DTYPES[form]
        place = device if form == "triton" else torch.device("cpu")

        def actual(*tensors):
            outs = run(*(tensor.to(place, dtype) for tensor in tensors), backend=form, **options)
            return tuple(out.double().cpu() for out in outs)

        inputs = [tensor.to(dtype).double() for tensor in inputs]
        with monkeypatch.context() as patch:
            poison(patch)
            agree(actual, partial(reference, **options), inputs, bound or BOUNDS[dtype])

    return compare


@pytest.mark.parametrize("L", [1, 63, 130])
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_definition(check, form, L):
    check(form, make(B=1, L=L, H=2))


@pytest.mark.parametrize("form", FORMS)
def test_500_tokens_of_odd_heads(check, form):
    check(form, make(B=1, L=500, H=1, Dk=33, Dv=20, decay=0.1), bound=1e-5 if form != "cpu" else None)


@pytest.mark.parametrize("form", FORMS)
def test_heads_wider_than_a_block(check, form):
    check(form, make(B=1, L=70, H=1, Dk=70, Dv=130, decay=0.1))


@pytest.mark.parametrize("decay", [0.0, 1e-9, 50.0])
@pytest.mark.parametrize("form", FORMS)
def test_vanishing_and_strong_decay(check, form, decay):
    check(form, make(B=1, L=100, H=1, decay=decay))


@pytest.mark.parametrize("form", FORMS)
def test_strong_and_weak_decay_side_by_side(check, form):
    """Running sums of -50 leave the exponents of weak neighbours 4 digits in float32."""
    *inputs, decay, state = make(B=1, L=130, H=1)
    decay = torch.where(decay < -0.5, -50.0, decay / 100)
    check(form, [*inputs, decay, state], bound=1e-4 if form != "cpu" else None)


@pytest.mark.parametrize("offsets", [[0, 3, 3, 70, 130], [0, 0, 64, 130, 130], [0, 130]])
@pytest.mark.parametrize("form", FORMS)
def test_packed_sequences_are_kept_apart(check, form, offsets):
    check(form, make(B=1, L=130, H=2, S=len(offsets) - 1), cu_seqlens=torch.tensor(offsets, dtype=torch.int32))


def test_packed_definition_is_that_of_each_sequence():
    q, k, v, beta, g, state = make(B=1, L=30, S=3)
    out, final = reference(q, k, v, beta, g, state, cu_seqlens=torch.tensor([0, 11, 11, 30]))
    for s, piece in enumerate((slice(0, 11), slice(11, 11), slice(11, 30))):
        if piece.start == piece.stop:
            assert torch.equal(final[s], state[s])
            continue
        alone, last = reference(*(tensor[:, piece] for tensor in (q, k, v, beta, g)), state[s : s + 1])
        assert torch.equal(out[:, piece], alone)
        assert torch.equal(final[s : s + 1], last)


@pytest.mark.parametrize("form", FORMS)
def test_without_decay_and_without_a_state(agree, form, device):
    dtype = DTYPES[form]
    q, k, v, beta, _, _ = (x.to(dtype).to(device if form == "triton" else "cpu") for x in make(B=1, L=70, H=2))
    actual, expected = (partial(delta_rule, scale=0.3, backend=name) for name in (form, "reference"))
    agree(actual, expected, [q, k, v, beta], BOUNDS[dtype])
    zeros = [torch.zeros_like(beta), q.new_zeros(1, 2, 5, 7)]
    for a, b in zip(actual(q, k, v, beta), actual(q, k, v, beta, zeros[0], initial_state=zeros[1]), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_no_sequence_at_all(form, device):
    inputs = [x[:0].to(DTYPES[form]).to(device if form == "triton" else "cpu").requires_grad_() for x in make(L=70)]
    out, state = run(*inputs, backend=form)
    assert (out.shape, state.shape) == ((0, 70, 3, 7), (0, 3, 5, 7))
    (out.sum() + state.sum()).backward()
    assert all(tensor.grad.shape == tensor.shape for tensor in inputs)


@pytest.mark.parametrize("chunk", [1, 2, 16, 128])
def test_any_chunk(agree, monkeypatch, chunk):
    monkeypatch.setattr(cpu, "_CHUNK", chunk)
    agree(run, reference, make(L=37))
    agree(*(partial(form, cu_seqlens=torch.tensor([0, 20, 37])) for form in (run, reference)), make(B=1, L=37, S=2))


@pytest.mark.parametrize("piece", [1, 7, 16, 64, 150])
@pytest.mark.parametrize("form", FORMS)
def test_carried_state_continues_the_sequence(form, piece, device):
    """A piece of one token without gradients takes the step."""
    place, bound = device if form == "triton" else "cpu", BOUNDS[DTYPES[form]]
    *inputs, state = (tensor.to(place, DTYPES[form]) for tensor in make(B=1, L={1: 20, 7: 40}.get(piece, 150), H=2))
    whole, final = run(*inputs, state, backend=form)
    parts = []
    for part in zip(*(tensor.split(piece, dim=1) for tensor in inputs), strict=True):
        old = state.clone()
        out, after = run(*part, state, backend=form)
        assert torch.equal(old, state)
        state = after
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=bound, rtol=bound)
    torch.testing.assert_close(state, final, atol=bound, rtol=bound)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradcheck(backend):
    inputs = [tensor.requires_grad_() for tensor in make(B=1, L=5, H=1, Dk=2, Dv=2)]
    assert torch.autograd.gradcheck(partial(run, backend=backend), inputs)


def test_gradcheck_of_packed_chunks(monkeypatch):
    monkeypatch.setattr(cpu, "_CHUNK", 2)
    inputs = [tensor.requires_grad_() for tensor in make(B=1, L=6, H=1, Dk=2, Dv=1, S=2)]
    assert torch.autograd.gradcheck(partial(run, cu_seqlens=torch.tensor([0, 1, 6])), inputs)


def test_definition_is_twice_differentiable():
    inputs = [tensor.requires_grad_() for tensor in make(B=1, L=3, H=1, Dk=2, Dv=1)]
    assert torch.autograd.gradgradcheck(reference, inputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decay", [0.0, 100.0])
def test_no_overflow_over_4096_tokens(gradients, form, decay, on):
    """Equal keys are the worst: every token corrects all that were written before."""
    L = 512 if form == "triton" and not torch.cuda.is_available() else 4096
    q, k, v, beta, g, state = make(B=1, L=L, H=1, Dk=8, Dv=8, decay=decay, dtype=torch.float32)
    inputs = on(form, q, k[:, :1].expand_as(k), v, beta.clamp(max=1), g, state)
    exact = gradients(run, [tensor.double() for tensor in inputs])
    for actual, expected in zip(gradients(partial(run, backend=form), inputs), exact, strict=True):
        assert (actual - expected).abs().max() <= 2e-4 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16(gradients, form, device):
    """Triton keeps in 16 bits what goes through memory (2^-9 each time; the interpreter cuts off), the others do not.

    They round what they return, and the test rounds what weighs it.
    """
    inputs = make(B=1, L=100, H=2, Dk=16, Dv=20, decay=0.1, dtype=torch.bfloat16)
    place, bound = (device, 3e-2) if form == "triton" else ("cpu", 2**-7)
    results = gradients(partial(run, backend=form), [tensor.to(place) for tensor in inputs])
    assert [result.dtype for result in results] == [torch.bfloat16, torch.float32, *[torch.bfloat16] * 6]
    exact = gradients(reference, [tensor.double() for tensor in inputs])
    for actual, expected in zip(results, exact, strict=True):
        assert (actual.cpu() - expected).abs().max() <= bound * expected.abs().max()


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_autocast_does_not_lower_the_precision(form, on):
    inputs = on(form, *make(L=70, dtype=torch.float32))
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        out, _ = run(*inputs, backend=form)
    assert torch.equal(out, run(*inputs, backend=form)[0])


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_padding_leaves_the_state_alone(form, on):
    """A padded token has beta = 0 and g = 0; then its key, value and query do not matter."""
    q, k, v, beta, g, state = (tensor.to(DTYPES[form]) for tensor in on(form, *make(L=20)))
    _, short = run(q, k, v, beta, g, state, backend=form)
    longer = [torch.cat([tensor, torch.randn_like(tensor).repeat(1, 3, 1, 1)], 1) for tensor in (q, k, v)]
    gates = [F.pad(tensor, (0, 0, 0, 60)) for tensor in (beta, g)]
    _, padded = run(*longer, *gates, state, backend=form)
    torch.testing.assert_close(padded, short, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_orthonormal_keys_are_remembered_exactly_and_overwritten(form, on):
    D = 16
    dtype = DTYPES[form]
    keys = torch.linalg.qr(torch.randn(D, D, dtype=dtype))[0]
    keys, first, second = on(form, keys, *torch.randn(2, D, 8, dtype=dtype))
    k = torch.cat([keys, keys[:4]])[None, :, None]
    v = torch.cat([first, second[:4]])[None, :, None]
    _, state = delta_rule(k, k, v, torch.ones_like(k[..., 0]), backend=form)
    torch.testing.assert_close(keys @ state[0, 0], torch.cat([second[:4], first[4:]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_beta_of_zero_leaves_the_state_alone(form, on):
    q, k, v, beta, _g, state = (tensor.to(DTYPES[form]) for tensor in on(form, *make(L=70)))
    _, final = delta_rule(q, k, v, 0 * beta, initial_state=state, backend=form)
    assert torch.equal(final, state)


def test_a_step_never_lengthens_the_state():
    """I - beta k k^T has a spectral norm of one for keys of length one and beta in [0, 2]."""
    q, k, v, beta, _, state = make(L=1, dtype=torch.float64)
    _, after = delta_rule(q, k, 0 * v, beta, initial_state=state)
    assert (torch.linalg.matrix_norm(after, 2) <= torch.linalg.matrix_norm(state, 2) + 1e-12).all()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    B=st.integers(1, 3),
    L=st.integers(1, 150),
    H=st.integers(1, 3),
    Dk=st.integers(1, 40),
    Dv=st.integers(1, 70),
    decay=st.sampled_from([0.0, 0.1, 3.0, 80.0]),
)
def test_any_shape(B, L, H, Dk, Dv, decay):
    inputs = make(B, L, H, Dk, Dv, decay, dtype=torch.float32)
    expected = reference(*(x.double() for x in inputs))
    for form in ["cpu", "native"] if native.LIBRARY.available() else ["cpu"]:
        bound = 1e-10 if form == "cpu" else 3e-5
        for a, b in zip(run(*(x.to(DTYPES[form]) for x in inputs), backend=form), expected, strict=True):
            torch.testing.assert_close(a.double(), b, atol=bound, rtol=bound)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 80), min_size=1, max_size=4), Dk=st.integers(1, 20), Dv=st.integers(1, 20))
def test_any_packing(on, lengths, Dk, Dv):
    lengths = [*lengths, 5]
    inputs = make(1, sum(lengths), 1, Dk, Dv, dtype=torch.float32, S=len(lengths))
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    forms = ["native", "triton"] if native.LIBRARY.available() else ["triton"]
    expected = run(*inputs, cu_seqlens=offsets)
    for form in forms:
        *placed, bounds = on(form, *inputs, offsets)
        for a, b in zip(run(*placed, backend=form, cu_seqlens=bounds), expected, strict=True):
            torch.testing.assert_close(a.cpu(), b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gated", [False, True])
def test_equals_the_loops_of_flash_linear_attention(agree, gated):
    plain = pytest.importorskip("fla.ops.delta_rule.naive").delta_rule_recurrence
    decayed = pytest.importorskip("fla.ops.gated_delta_rule.naive").naive_recurrent_gated_delta_rule

    def theirs(q, k, v, beta, g, state):
        if gated:
            return decayed(q, k, v, beta, g, initial_state=state, output_final_state=True)
        out, final = plain(*(x.transpose(1, 2) for x in (q, k, v, beta)), initial_state=state)
        return out.transpose(1, 2), final

    def ours(q, k, v, beta, g, state):
        return delta_rule(q, k, v, beta, g if gated else None, initial_state=state, backend="cpu")

    agree(ours, theirs, make(L=40, dtype=torch.float32), 1e-5)


def test_equals_the_chunked_form_of_transformers(agree):
    qwen = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    # Where fla is installed, transformers puts fla's GPU kernel in front of its own function.
    chunked = getattr(qwen.torch_chunk_gated_delta_rule, "__wrapped__", qwen.torch_chunk_gated_delta_rule)

    def theirs(q, k, v, beta, g, state):
        return chunked(q, k, v, g, beta, initial_state=state, output_final_state=True)

    agree(partial(run, backend="auto"), theirs, make(L=100, dtype=torch.float32), 1e-5)


@pytest.mark.parametrize("L", [1, 40])
def test_equals_onnxs_linear_attention(L):
    LinearAttention = pytest.importorskip("onnx.reference.ops.op_linear_attention").LinearAttention
    q, k, v, beta, g, state = make(L=L, dtype=torch.float32)
    packed = [tensor.flatten(2).numpy() for tensor in (q, k, v)]
    theirs = LinearAttention.__new__(LinearAttention)._run(
        *packed, state.numpy(), g.numpy(), beta.numpy(), kv_num_heads=3, q_num_heads=3, update_rule="gated_delta"
    )
    out, final = run(q, k, v, beta, g, state, backend="auto")
    np.testing.assert_allclose(out.flatten(2), theirs[0], atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(final, theirs[1], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("L", [1, 40])
def test_equals_onnx_runtimes_linear_attention(L):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from omniform_kernels.delta_rule.bench import _onnx_runtime

    *inputs, state = make(B=1, L=L, dtype=torch.float32)
    theirs = _onnx_runtime(tuple(inputs), state)()
    out, final = run(*inputs, state, backend="auto")
    np.testing.assert_allclose(out.flatten(2), theirs[0], atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(final, theirs[1], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_custom_ops_are_sound(form, device):
    place = device if form == "triton" else "cpu"
    offsets = torch.tensor([0, 30, 70], device=place)
    for shape, packed in (({"B": 1, "L": 70, "H": 1, "S": 2}, offsets), ({"B": 2, "L": 3, "H": 2}, None)):
        inputs = [tensor.to(place, DTYPES[form]).requires_grad_() for tensor in make(**shape)]
        torch.library.opcheck(_forward, (*inputs, 0.5, packed, form, True))
        plain = [tensor.detach() for tensor in inputs]
        out, state, kept = _forward(*plain, 0.5, packed, form, True)
        torch.library.opcheck(_backward, (out, state, *plain, kept, 0.5, packed, form))
    if form != "cpu":  # which takes the definition's step
        token = [tensor[:, :1].contiguous() for tensor in plain[:5]]
        torch.library.opcheck(_step, (*token, plain[5], 0.5, form))


@pytest.mark.parametrize("form", FORMS)
def test_compiles_without_graph_break(agree, compiled, form, device):
    function = partial(run, backend=form)
    fast = compiled(function)
    for L in (70, 90):
        inputs = [tensor.to(device if form == "triton" else "cpu", DTYPES[form]) for tensor in make(B=1, L=L, H=1)]
        agree(fast, function, inputs, 1e-10)
    with torch.no_grad():
        token = [*(tensor[:, :1] for tensor in inputs[:5]), inputs[5]]
        assert torch.equal(fast(*token)[0], function(*token)[0])


def test_exports_to_operators_of_torch():
    class Module(torch.nn.Module):
        def forward(self, *inputs):
            return run(*inputs, backend="auto")

    inputs = tuple(make(L=70, dtype=torch.float32))
    program = torch.export.export(Module(), inputs)
    assert "omniform" not in str(program.graph)
    for a, b in zip(program.module()(*inputs), run(*inputs), strict=True):
        torch.testing.assert_close(a, b)


def test_tells_what_it_costs():
    from torch.utils.flop_counter import FlopCounterMode

    inputs = [tensor.requires_grad_() for tensor in make(B=2, L=50, H=3)]
    with FlopCounterMode(display=False) as counter:
        out, _ = run(*inputs)
        out.sum().backward()
    assert counter.get_total_flops() == (7 + 17) * math.prod((2, 50, 3, 5, 7))


def test_refuses_what_does_not_fit():
    q, k, v, beta, _g, state = make()
    with pytest.raises(ShapeError, match="expected k of shape"):
        delta_rule(q, k[..., :4], v, beta)
    with pytest.raises(ShapeError, match="expected beta of shape"):
        delta_rule(q, k, v, q)
    with pytest.raises(ShapeError, match="expected log_decay of shape"):
        delta_rule(q, k, v, beta, q)
    with pytest.raises(ShapeError, match="initial_state"):
        delta_rule(q, k, v, beta, initial_state=state[:1])
    with pytest.raises(ShapeError, match="L, H, Dk, Dv >= 1"):
        delta_rule(q[:, :0], k[:, :0], v[:, :0], beta[:, :0])
    with pytest.raises(ShapeError, match="a batch of 1"):
        delta_rule(q, k, v, beta, cu_seqlens=torch.tensor([0, 63]))
    with pytest.raises(ValueError, match="rise from 0 to the 63 tokens"):
        delta_rule(q[:1], k[:1], v[:1], beta[:1], cu_seqlens=torch.tensor([0, 70, 63]))
    with pytest.raises(ValueError, match="float64"):
        delta_rule(q, k, v, beta, backend="triton")
    with pytest.raises(ValueError, match="backend"):
        delta_rule(q, k, v, beta, backend="cuda")
