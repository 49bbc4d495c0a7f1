from functools import partial, reduce
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.decode_attention import Partial, attend_part, decode_attention, merge
from omniform_kernels.decode_attention.op import _decode
from omniform_kernels.decode_attention.schedule import schedule
from omniform_kernels.packed_attention import packed_attention

FORMS = {"plain": {}, "slopes": {"slopes": True}, "mask": {"mask": True}, "both": {"slopes": True, "mask": True}}


def make(B=3, S=70, *, H=4, K=2, D=8, dtype=torch.float64):
    return [torch.randn(shape, dtype=dtype) for shape in ((B, H, D), (B, S, K, D), (B, S, K, D))]


def form(options, B, S, H, dtype):
    mask = torch.rand(B, S, generator=torch.Generator().manual_seed(1)) < 0.7 if options.get("mask") else None
    return {"mask": mask, "slopes": torch.linspace(0.1, 1.0, H, dtype=dtype) if options.get("slopes") else None}


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("H", "K", "D"), [(4, 4, 8), (4, 2, 40), (3, 1, 72)])
def test_equals_torch_with_heads_repeated(agree, backend, H, K, D):
    def whole(q, k, v):
        k, v = (x.transpose(1, 2).repeat_interleave(H // K, dim=1) for x in (k, v))
        return F.scaled_dot_product_attention(q[:, :, None], k, v)[:, :, 0]

    agree(partial(decode_attention, backend=backend), whole, make(H=H, K=K, D=D))


@pytest.mark.parametrize("slopes", [None, torch.tensor([0.5, 0.2, 0.1, 1.0])])
def test_equals_packed_attention_of_one_query_each(slopes):
    lengths = torch.tensor([5, 0, 9])
    q, k, v = make(S=9, dtype=torch.float32)
    seen = torch.arange(9) < lengths[:, None]
    bounds = torch.tensor([0, 5, 5, 14])
    packed = packed_attention(q, k[seen], v[seen], torch.arange(4), cu_seqlens_k=bounds, causal=True, slopes=slopes)
    torch.testing.assert_close(decode_attention(q, k, v, lengths, slopes=slopes), packed)


@pytest.mark.parametrize("splits", [None, 1, 3, 100])
@pytest.mark.parametrize("lengths", [None, [70, 0, 33]], ids=["full", "ragged"])
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_plain_form_equals_the_definition(agree, options, lengths, splits):
    lengths = None if lengths is None else torch.tensor(lengths)
    run = partial(decode_attention, lengths=lengths, scale=0.3, **form(options, 3, 70, 4, torch.float64))
    agree(partial(run, splits=splits, backend="cpu"), partial(run, backend="reference"), make())


@pytest.mark.parametrize("splits", [None, 7, 100])
@pytest.mark.parametrize(("H", "K", "D"), [(2, 2, 16), (4, 2, 40), (3, 1, 72)])
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_triton_equals_the_definition(options, H, K, D, splits, device):
    lengths = torch.tensor([0, 1, 130, 64], device=device)
    inputs = [x.to(device) for x in make(4, 130, H=H, K=K, D=D, dtype=torch.float32)]
    options = form(options, 4, 130, H, torch.float32)
    options = {name: None if x is None else x.to(device) for name, x in options.items()}
    for sizes in (None, lengths):
        run = partial(decode_attention, *inputs, sizes, **options)
        torch.testing.assert_close(run(splits=splits, backend="triton"), run(backend="reference"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "cpu", "triton"])
@pytest.mark.parametrize("splits", [None, 3])
def test_what_lies_behind_the_cache_is_not_looked_at(gradients, backend, splits, device):
    lengths = torch.tensor([5, 0, 9], device=device)
    q, k, v = (x.to(device) for x in make(S=12, dtype=torch.float32))
    behind = torch.arange(12, device=device) >= lengths[:, None]
    clean = decode_attention(q, k, v, lengths, backend="reference")
    k, v = (x.masked_fill(behind[..., None, None], torch.nan) for x in (k, v))
    run = partial(decode_attention, lengths=lengths, splits=splits, backend=backend)
    torch.testing.assert_close(run(q, k, v), clean)
    if backend != "triton":
        assert all(grad.isfinite().all() for grad in gradients(run, (q, k, v)))


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_who_sees_no_key_gets_zero(backend, device):
    q, k, v = (x.to(device) for x in make(dtype=torch.float32))
    mask = torch.ones(3, 70, dtype=torch.bool, device=device)
    mask[1] = False
    out = decode_attention(q, k, v, mask=mask, backend=backend)
    assert not out[1].any()
    assert not decode_attention(q, k[:, :0], v[:, :0], backend=backend).any()
    assert decode_attention(q[:0], k[:0], v[:0], backend=backend).shape == (0, 4, 8)


@pytest.mark.parametrize("slopes", [None, torch.tensor([0.01, 0.3, 0.1, 1.0])], ids=["plain", "slopes"])
@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_bfloat16_is_as_close_as_its_rounding(backend, slopes, device):
    inputs = [x.to(device) for x in make(S=300, dtype=torch.bfloat16)]
    run = partial(decode_attention, slopes=None if slopes is None else slopes.to(device))
    out = run(*inputs, backend=backend)
    exact = run(*(x.double() for x in inputs), backend="reference")
    assert out.dtype == torch.bfloat16
    assert (out - exact).abs().max() <= 2**-7 * exact.abs().max()


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_large_scores_do_not_overflow(backend, device):
    q, k, v = (30 * x.to(device) for x in make(dtype=torch.float32))
    run = partial(decode_attention, q, k, v)
    torch.testing.assert_close(run(splits=5, backend=backend), run(backend="reference"), atol=1e-3, rtol=1e-4)


def test_a_cache_with_heads_outside_is_taken_as_it_lies(device):
    q, k, v = (x.to(device) for x in make(dtype=torch.float32))
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (k, v)]
    expected = decode_attention(q, k, v, backend="reference")
    for backend in ("cpu", "triton"):
        torch.testing.assert_close(decode_attention(q, *turned, backend=backend), expected)


@pytest.mark.parametrize("splits", [None, 3])
def test_gradcheck(splits):
    q, k, v = (x.requires_grad_() for x in make(2, 5, H=2, K=1, D=3))
    run = partial(decode_attention, lengths=torch.tensor([4, 0]), splits=splits)
    assert torch.autograd.gradcheck(partial(run, backend="cpu"), (q, k, v))
    assert torch.autograd.gradgradcheck(partial(run, backend="reference"), (q, k, v))


@st.composite
def cuts(draw):
    """Draw the sizes of up to six parts of the keys, empty ones among them, and an order in which to merge them."""
    sizes = draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    return sizes, draw(st.permutations(range(len(sizes)))), draw(st.randoms(use_true_random=False))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cut=cuts(), masked=st.booleans(), scale=st.floats(0.01, 30))
def test_any_tree_of_merges_is_the_whole_softmax(cut, masked, scale):
    sizes, order, random = cut
    torch.manual_seed(sum(sizes))
    q, k, v = make(2, sum(sizes))
    seen = torch.rand(2, 1, sum(sizes)) < 0.4
    added = torch.where(seen, 0.0, -torch.inf) if masked else None
    parts, start = [], 0
    for size in sizes:
        cut = slice(start, start + size)
        parts.append(attend_part(q, k[:, cut], v[:, cut], None if added is None else added[..., cut], scale))
        start += size
    parts = [parts[i] for i in order]
    while len(parts) > 1:
        i = random.randrange(len(parts) - 1)
        parts[i : i + 2] = [merge(parts[i], parts[i + 1])]
    whole = attend_part(q, k, v, added, scale)
    torch.testing.assert_close(parts[0].out, whole.out, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(parts[0].log_sum, whole.log_sum, atol=1e-12, rtol=1e-12)


def test_merging_is_associative_and_commutative_with_an_identity():
    q, k, v = make()
    a, b, c = (attend_part(q, k[:, i::3], v[:, i::3], None, 0.5) for i in range(3))
    nothing = Partial(torch.zeros_like(q), torch.full(q.shape[:-1], -torch.inf, dtype=q.dtype))
    for left, right in (
        (merge(merge(a, b), c), merge(a, merge(b, c))),
        (merge(a, b), merge(b, a)),
        (merge(a, nothing), a),
        (merge(nothing, nothing), nothing),
    ):
        for x, y in zip(left, right, strict=True):
            torch.testing.assert_close(x, y, atol=1e-14, rtol=1e-14)


def test_merging_is_differentiable_where_parts_are_empty(agree):
    added = torch.zeros(3, 1, 9, dtype=torch.float64)
    added[0, :, :5], added[1] = -torch.inf, -torch.inf

    def whole(q, k, v):
        return attend_part(q, k, v, added, 0.4).out

    def parts(q, k, v):
        cuts = (slice(0, 5), slice(5, 5), slice(5, 9))
        return reduce(merge, [attend_part(q, k[:, cut], v[:, cut], added[..., cut], 0.4) for cut in cuts]).out

    agree(parts, whole, make(S=9))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    tile=st.sampled_from([16, 64]),
    programs=st.integers(1, 40),
)
def test_every_tile_is_done_once_and_the_load_is_even(lengths, heads, tile, programs):
    plan = schedule(torch.tensor(lengths), heads, tile, programs)
    works, runs = plan.works.tolist(), plan.runs.tolist()
    assert works == [0, *torch.tensor([-(-n // tile) for n in lengths for _ in range(heads)]).cumsum(0).tolist()]
    assert (runs[0], runs[-1]) == (0, works[-1])
    loads = [b - a for a, b in pairwise(runs)]
    assert min(loads) >= 0
    assert max(loads) - min(loads) <= 1
    places = set()
    for run, first in enumerate(plan.first_work.tolist()):
        done = [w for w in range(len(works) - 1) if max(works[w], runs[run]) < min(works[w + 1], runs[run + 1])]
        assert not done or first == done[0]
        for work in done:
            assert run + work not in places
            places.add(run + work)
            assert plan.first_run[work] <= run
            assert plan.first_run[work] < run or runs[run] <= works[work]
    assert len(places) == 0 or max(places) < programs + len(works) - 1


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    backend=st.sampled_from(["cpu", "triton"]),
    B=st.integers(0, 3),
    S=st.integers(0, 80),
    group=st.integers(1, 3),
    D=st.integers(1, 20),
    splits=st.one_of(st.none(), st.integers(1, 9)),
)
def test_any_shape(on, backend, B, S, group, D, splits):
    torch.manual_seed(S)
    run = partial(decode_attention, *on(backend, *make(B, S, H=2 * group, D=D, dtype=torch.float32)))
    torch.testing.assert_close(run(splits=splits, backend=backend), run(backend="reference"), atol=1e-5, rtol=1e-4)


def test_nothing_is_left_unwritten(poisoned, device):
    q, k, v = (x.to(device) for x in make(4, 150, D=12, dtype=torch.float32))
    run = partial(decode_attention, q, k, v, torch.tensor([0, 150, 1, 65], device=device))
    for splits in (1, 3, 50):
        torch.testing.assert_close(run(splits=splits, backend="triton"), run(backend="reference"))


def test_custom_op_is_sound(device):
    q, k, v = (x.to(device) for x in make(dtype=torch.float32))
    mask, lengths = torch.rand(3, 70, device=device) < 0.5, torch.tensor([70, 3, 0], device=device)
    checks = ("test_schema", "test_faketensor")  # it has no gradients
    torch.library.opcheck(_decode, (q, k, v, lengths, mask, torch.rand(4, device=device), 0.3, 5), test_utils=checks)
    torch.library.opcheck(_decode, (q, k, v, None, None, None, 0.3, None), test_utils=checks)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_compiles_without_graph_break(compiled, backend, ragged, device):
    inputs = [x.to(device) for x in make(dtype=torch.float32)]
    lengths = torch.tensor([70, 3, 0], device=device) if ragged else None
    run = partial(decode_attention, lengths=lengths, backend=backend)
    torch.testing.assert_close(compiled(run)(*inputs), run(*inputs))


def test_autocast_changes_nothing():
    inputs = make(dtype=torch.float32)
    expected = decode_attention(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(decode_attention(*inputs), expected)


def test_triton_refuses_to_be_differentiated(device):
    q, k, v = (x.to(device) for x in make(dtype=torch.float32))
    q.requires_grad_()
    with pytest.raises(ValueError, match="without gradients"):
        decode_attention(q, k, v, backend="triton")
    with torch.no_grad():
        decode_attention(q, k, v, backend="triton")
    assert decode_attention(q, k, v).requires_grad


def test_refuses_what_does_not_fit():
    q, k, v = make()
    with pytest.raises(ShapeError, match="K dividing H"):
        decode_attention(q[:, :3], k, v)
    with pytest.raises(ShapeError, match="expected v of shape"):
        decode_attention(q, k, v[:, 1:])
    with pytest.raises(ShapeError, match="expected lengths of shape"):
        decode_attention(q, k, v, torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match="expected mask of shape"):
        decode_attention(q, k, v, mask=torch.ones(3, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="splits"):
        decode_attention(q, k, v, splits=0)
