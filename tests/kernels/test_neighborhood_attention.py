from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.flop_counter import FlopCounterMode

from omniform_kernels.checks import ShapeError
from omniform_kernels.neighborhood_attention import native, neighborhood_attention
from omniform_kernels.neighborhood_attention.op import _backward, _forward

# Odd and even kernels, wider than the grid or than a residue class, partial tiles and partial groups.
SHAPES = [
    ((1,), {"kernel_size": (3,)}),
    ((63,), {"kernel_size": (7,)}),
    ((130,), {"kernel_size": (4,), "dilation": (3,)}),
    ((500,), {"kernel_size": (9,), "stride": (5,), "causal": (True,)}),
    ((20,), {"kernel_size": (33,), "causal": (True,)}),
    ((5,), {"kernel_size": (3,), "dilation": (7,), "stride": (2,)}),
    ((9, 13), {"kernel_size": (3, 5), "dilation": (2, 1), "stride": (3, 4)}),
    ((3, 20), {"kernel_size": (7, 3), "dilation": (2, 7), "causal": (True, False)}),
    ((5, 6, 7), {"kernel_size": (3, 3, 2), "dilation": (1, 2, 3), "stride": (1, 2, 1), "causal": (True, False, True)}),
]
# As many as an interpreter has patience for. Those of several tiles of 64 (or 8 x 8) show which queries a tile of keys
# may not forget: of groups cut by the tile, and at borders, to which a window of more than a tile is moved.
FEW_PROGRAMS = [
    ((1,), {"kernel_size": (3,)}),
    ((63,), {"kernel_size": (7,), "dilation": (2,), "stride": (3,)}),
    ((150,), {"kernel_size": (6,), "stride": (4,)}),
    ((130,), {"kernel_size": (70,)}),
    ((70,), {"kernel_size": (33,), "causal": (True,), "stride": (4,)}),
    ((9, 13), {"kernel_size": (3, 6), "dilation": (1, 2), "causal": (True, False)}),
    ((3, 4, 5), {"kernel_size": (3, 2, 3), "stride": (1, 1, 3), "causal": (False, False, True)}),
]


def make(grid, kernel_size, dtype=torch.float64, batch=2, heads=3, size=5):
    """Return [q, k, v, bias]."""
    rows = (batch, *grid, heads)
    shapes = [(*rows, size), (*rows, size), (*rows, size - 1), (heads, *(2 * n - 1 for n in kernel_size))]
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def run(q, k, v, bias=None, **options):
    return neighborhood_attention(q, k, v, bias=bias, **options)


def sees(grid, kernel_size, dilation=None, stride=None, causal=None):
    """Return who sees whom, (T, T): NATTEN's formula for pairs of coordinates, for residue classes of K and more."""
    rank = len(grid)
    tokens = torch.cartesian_prod(*map(torch.arange, grid)).view(-1, rank)
    allowed = torch.ones(len(tokens), len(tokens), dtype=torch.bool)
    for x, n, size, step, group, past in zip(
        tokens.unbind(1),
        grid,
        kernel_size,
        dilation or (1,) * rank,
        stride or (1,) * rank,
        causal or (False,) * rank,
        strict=True,
    ):
        (q, q_class), (k, k_class) = ((i // step, i % step) for i in (x[:, None], x[None, :]))
        length = n // step + (q_class < n % step)
        if past:
            leader = torch.minimum(q // group * group + group - 1, length - 1)
            inside = (q >= k) & (leader - k < size)
        else:
            leader = torch.minimum(q // group * group + group // 2, length - 1)
            right = size // 2 + size % 2 - 1
            centre = torch.minimum(leader.clamp(min=size // 2), length - 1 - right)
            inside = (k >= centre - size // 2) & (k <= centre + right)
        allowed &= inside & (q_class == k_class)
    return allowed


def flat(*tensors):
    """Bring (B, *grid, H, D) to (B, H, T, D)."""
    return [x.flatten(1, -3).transpose(1, 2) for x in tensors]


ORACLE_SHAPES = [
    ((40,), {"kernel_size": (5,), "dilation": (2,), "stride": (4,)}),
    ((41,), {"kernel_size": (6,), "stride": (6,), "causal": (True,)}),
    ((12, 9), {"kernel_size": (4, 3), "dilation": (2, 3), "stride": (3, 2), "causal": (False, True)}),
    ((4, 5, 6), {"kernel_size": (3, 2, 3), "dilation": (1, 1, 2), "stride": (2, 2, 1), "causal": (True, False, False)}),
]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("grid", "options"), ORACLE_SHAPES)
def test_equals_masked_attention_by_nattens_formula(agree, grid, options, backend):
    def masked(q, k, v):
        out = F.scaled_dot_product_attention(*flat(q, k, v), attn_mask=sees(grid, **options))
        return out.transpose(1, 2).reshape(v.shape)

    agree(partial(run, **options, backend=backend), masked, make(grid, options["kernel_size"])[:3])


def test_equals_flex_attention():
    options = {"kernel_size": (5, 3), "stride": (2, 1), "causal": (False, True)}
    q, k, v, _ = make((8, 9), (5, 3), torch.float32, size=17)
    v = torch.cat([v, v[..., :1]], -1)
    allowed = sees((8, 9), **options)

    def score(logit, b, h, i, j):
        return torch.where(allowed[i, j], logit, -float("inf"))

    expected = flex_attention(*flat(q, k, v), score_mod=score)
    torch.testing.assert_close(flat(run(q, k, v, **options))[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "cpu", "native", "triton"])
def test_causal_rank_1_is_a_sliding_window(agree, backend, on):
    def sliding(q, k, v):
        ahead = torch.arange(40)[:, None] - torch.arange(40)
        window = ((ahead >= 0) & (ahead < 7)).to(q.device)
        return F.scaled_dot_product_attention(*flat(q, k, v), attn_mask=window).transpose(1, 2)

    inputs = on(backend, *make((40,), (7,), torch.float32, batch=1, heads=2)[:3])
    agree(partial(run, kernel_size=(7,), causal=(True,), backend=backend), sliding, inputs, 1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("grid", "options"), SHAPES)
def test_tiles_equal_dense(agree, grid, options, biased, masked):
    inputs = make(grid, options["kernel_size"])[: 4 if biased else 3]
    mask = torch.rand(2, *grid) > 0.6 if masked else None
    call = partial(run, **options, mask=mask)
    agree(partial(call, backend="cpu"), partial(call, backend="reference"), inputs)


@pytest.mark.parametrize("whole", [False, True], ids=["plain", "biased and masked"])
@pytest.mark.parametrize(("grid", "options"), FEW_PROGRAMS)
def test_triton_equals_dense(agree, grid, options, whole, device, poisoned):
    """1e-5 of the largest entry in float32, the bias's gradient included; all that is written was NaN before."""
    inputs = [x.to(device) for x in make(grid, options["kernel_size"], torch.float32, 1, 1 + whole)]
    mask = torch.rand(1, *grid, device=device) > 0.6 if whole else None
    call = partial(run, **options, mask=mask)
    inputs = inputs[: 4 if whole else 3]
    agree(partial(call, backend="triton"), partial(call, backend="reference"), inputs, 1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [5, 16, 32, 64])
@pytest.mark.parametrize(("grid", "options"), SHAPES)
@pytest.mark.skipif(not native.LIBRARY.available(), reason="needs a C++ compiler")
def test_native_equals_dense(agree, grid, options, size, masked, poisoned):
    """1e-5 of the largest entry; head sizes that its compiler knows, and one that it does not."""
    inputs = make(grid, options["kernel_size"], torch.float32, size=size)
    if size > 5:
        inputs[2] = torch.randn(2, *grid, 3, size)
    mask = torch.rand(2, *grid) > 0.6 if masked else None
    inputs = inputs[: 4 if masked else 3]
    call = partial(run, **options, mask=mask)
    agree(partial(call, backend="native"), partial(call, backend="reference"), inputs, 1e-5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_shape(data):
    """The fast forms in double precision, and what "auto" takes in single."""
    grid, options, mask = draw(data, {1: 40, 2: 9, 3: 4})
    inputs = make(grid, options["kernel_size"])
    call = partial(run, **options, mask=mask)
    expected = call(*inputs, backend="reference")
    torch.testing.assert_close(call(*inputs, backend="cpu"), expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(call(*(x.float() for x in inputs)).double(), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_shape_in_triton(device, data):
    grid, options, mask = draw(data, {1: 20, 2: 5, 3: 3})
    inputs = [
        x[:1] if x.ndim > len(grid) + 1 else x for x in make(grid, options["kernel_size"], torch.float32, heads=1)
    ]
    leaves = [[x.to(device, copy=True).requires_grad_() for x in inputs] for _ in range(2)]
    results = []
    for form, leaf in zip(("triton", "reference"), leaves, strict=True):
        out = run(*leaf, **options, mask=mask[:1].to(device), backend=form)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaf)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=2e-5, rtol=2e-5)


def draw(data, most):
    """Return a grid, options of it, and a mask."""
    rank = data.draw(st.integers(1, 3))
    grid = tuple(data.draw(st.integers(1, most[rank])) for _ in range(rank))
    size = tuple(data.draw(st.integers(1, {1: 9, 2: 5, 3: 3}[rank])) for _ in grid)
    options = {
        "kernel_size": size,
        "dilation": tuple(data.draw(st.integers(1, 3)) for _ in grid),
        "stride": tuple(data.draw(st.integers(1, n)) for n in size),
        "causal": tuple(data.draw(st.booleans()) for _ in grid),
    }
    seed = data.draw(st.integers(0, 9))
    return grid, options, torch.rand(2, *grid, generator=torch.Generator().manual_seed(seed)) > 0.3


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("grid", "kernel_size", "dilation"), [((12,), (5,), (2,)), ((6, 8), (3, 3), (1, 2))])
def test_every_token_has_a_whole_neighbourhood(backend, grid, kernel_size, dilation):
    """With equal logits a one-hot value spreads evenly: rows of prod(kernel) equal weights inside the residue class."""
    tokens = torch.Size(grid).numel()
    q = torch.zeros(1, *grid, 1, 2).double()
    v = torch.eye(tokens).double().view(1, *grid, 1, tokens)
    call = partial(neighborhood_attention, kernel_size=kernel_size, dilation=dilation, backend=backend)
    weights = call(q, q, v).view(tokens, tokens)
    size = torch.Size(kernel_size).numel()
    assert torch.allclose(weights[weights > 0], torch.tensor(1 / size).double())
    assert ((weights > 0).sum(-1) == size).all()
    assert (weights.diagonal() > 0).all()
    places = torch.cartesian_prod(*(torch.arange(n) for n in grid)).view(tokens, -1)
    seen = weights.nonzero()
    assert ((places[seen[:, 0]] - places[seen[:, 1]]) % torch.tensor(dilation) == 0).all()


def test_a_kernel_as_wide_as_the_grid_is_full_attention():
    q, k, v, _ = make((6, 7), (6, 7))
    out = neighborhood_attention(q, k, v, kernel_size=(6, 7))
    flat = [x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)]
    full = F.scaled_dot_product_attention(*flat).transpose(1, 2).reshape(out.shape)
    torch.testing.assert_close(out, full, atol=1e-12, rtol=1e-10)


def test_bias_is_looked_up_by_relative_position():
    """Away from the border, a huge bias at offset +2 (in steps of the dilation) copies the value of that token."""
    q, k, v, bias = make((30,), (5,))
    bias = torch.zeros_like(bias)
    bias[:, 4 + 2] = 1e4
    out = neighborhood_attention(q, k, v, kernel_size=(5,), dilation=(3,), bias=bias)
    torch.testing.assert_close(out[:, 6:24], v[:, 12:30])


@pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("backend", ["reference", "cpu", "native", "triton"])
def test_masked_tokens_change_nothing_and_may_be_anything(gradients, backend, junk, on):
    q, k, v, _ = on(backend, *make((6, 7), (3, 3), torch.float32, batch=1, heads=1))
    mask = torch.rand(1, 6, 7, device=q.device) > 0.5
    call = partial(run, kernel_size=(3, 3), mask=mask, backend=backend)
    dirty = [x.masked_fill(~mask[..., None, None], junk) for x in (k, v)]
    for clean, other in zip(gradients(call, [q, k, v]), gradients(call, [q, *dirty]), strict=True):
        assert torch.equal(clean, other)
    assert (run(q, k, v, kernel_size=(3, 3), mask=torch.zeros_like(mask), backend=backend) == 0).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradcheck_twice(backend, causal):
    inputs = [tensor[:1, :, :1, :2].clone().requires_grad_() for tensor in make((5,), (3,))[:3]]
    inputs.append(torch.randn(1, 5).double().requires_grad_())
    call = partial(run, kernel_size=(3,), dilation=(2,), stride=(2,), causal=(causal,), backend=backend)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_float32_is_close_to_float64(gradients):
    """1e-5 of the largest entry; float32 rounding alone is 1e-7."""
    inputs = make((20, 20), (5, 5), torch.float32)
    call = partial(run, kernel_size=(5, 5), backend="cpu")
    exact = gradients(partial(call, backend="reference"), [tensor.double() for tensor in inputs])
    for actual, expected in zip(gradients(call, inputs), exact, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_bfloat16_and_autocast_compute_in_float32():
    inputs = make((40,), (5,), torch.bfloat16)
    call = partial(run, kernel_size=(5,), backend="cpu")
    out = call(*inputs)
    wide = [tensor.float() for tensor in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(call(*wide).bfloat16(), out)
    assert out.dtype == torch.bfloat16


def test_bfloat16_in_triton_is_as_close_as_its_rounding(gradients, device):
    """2^-7 of the largest entry: two roundings of half a unit in the last place, which an interpreter cuts off."""
    inputs = [x.to(device) for x in make((20,), (5,), torch.bfloat16, batch=1, heads=1, size=33)]
    call = partial(run, kernel_size=(5,))
    exact = gradients(partial(call, backend="reference"), [tensor.double() for tensor in inputs])
    for actual, expected in zip(gradients(partial(call, backend="triton"), inputs), exact, strict=True):
        assert actual.dtype == torch.bfloat16
        assert (actual - expected).abs().max() <= 2**-7 * expected.abs().max()


def test_triton_reads_a_projection_in_place(agree, device):
    """Queries, keys and values that are slices of one tensor, and a grid that cannot be walked with one stride."""
    together = torch.randn(2, 4, 5, 3, 2, 6, device=device)

    def sliced(x, backend):
        q, k, v = x[:, :, :4].unbind(3)
        return torch.cat([run(*x.unbind(3), kernel_size=(3, 3), backend=backend).flatten(),
                          run(q, k, v, kernel_size=(3, 3), backend=backend).flatten()])  # fmt: skip

    agree(partial(sliced, backend="triton"), partial(sliced, backend="reference"), [together], 1e-5)


def test_memory_grows_with_the_tokens_not_their_square():
    saved = {}

    def pack(tensor):
        saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    counts = []
    for n in (512, 1024):
        saved.clear()
        inputs = [tensor.requires_grad_() for tensor in make((n,), (7,))[:3]]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run(*inputs, kernel_size=(7,), backend="cpu")
        counts.append(sum(saved.values()))
    assert counts[1] <= 2.1 * counts[0]


@pytest.mark.parametrize("form", ["native", "triton"])
def test_custom_op_is_sound(form, on):
    q, k, v, bias = on(form, *make((9,), (3,), torch.float32, batch=1, heads=1))
    mask = torch.rand(1, 9, device=q.device) > 0.3
    options = ([3], [2], [2], [True], 0.5, form)
    torch.library.opcheck(_forward, (*(x.requires_grad_() for x in (q, k, v, bias)), mask, *options))
    torch.library.opcheck(_forward, (q, k, v, None, None, *options))
    inputs = [x.detach() for x in (q, k, v, bias)]
    out, lse = _forward(*inputs, mask, *options)
    torch.library.opcheck(_backward, (torch.ones_like(out), *inputs, mask, out, lse, *options))


@pytest.mark.parametrize("backend", ["cpu", "native", "triton"])
def test_compiles_without_graph_break(agree, compiled, backend, on):
    call = partial(run, kernel_size=(3,), dilation=(2,), stride=(2,), causal=(True,), backend=backend)
    fast = compiled(call)
    for n in (10, 13):
        agree(fast, call, on(backend, *make((n,), (3,), torch.float32, 1, 1)), 1e-5)


@pytest.mark.skipif(not native.LIBRARY.available(), reason="needs a C++ compiler")
@pytest.mark.parametrize(("grid", "options"), ORACLE_SHAPES)
def test_operations_are_counted_by_pairs(grid, options):
    inputs = [x.requires_grad_() for x in make(grid, options["kernel_size"], torch.float32)[:3]]
    with FlopCounterMode(display=False) as forward:
        out = run(*inputs, **options, backend="native")
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    pairs = 2 * 3 * int(sees(grid, **options).sum())
    assert forward.get_total_flops() == 2 * pairs * (5 + 4)
    assert backward.get_total_flops() == 2 * pairs * (3 * 5 + 2 * 4)


def test_refuses_what_does_not_fit():
    q, k, v, bias = make((9, 10), (3, 3))
    with pytest.raises(ValueError, match="kernel_size of 2 numbers"):
        neighborhood_attention(q, k, v, kernel_size=(3,))
    with pytest.raises(ValueError, match="dilation of 2 numbers >= 1"):
        neighborhood_attention(q, k, v, kernel_size=(3, 3), dilation=(0, 1))
    with pytest.raises(ShapeError, match="expected bias of shape"):
        neighborhood_attention(q, k, v, kernel_size=(3, 5), bias=bias)
    with pytest.raises(ShapeError, match="expected mask of shape"):
        neighborhood_attention(q, k, v, kernel_size=(3, 3), mask=torch.ones(2, 9, dtype=torch.bool))
    with pytest.raises(ValueError, match="a stride of at most the kernel size"):
        neighborhood_attention(q, k, v, kernel_size=(3, 3), stride=(4, 1))
    with pytest.raises(ValueError, match="causal of 2 truth values"):
        neighborhood_attention(q, k, v, kernel_size=(3, 3), causal=(True,))
    with pytest.raises(ValueError, match="float64"):
        neighborhood_attention(q, k, v, kernel_size=(3, 3), backend="native")
    with pytest.raises(ShapeError, match="rank 1 to 3"):
        neighborhood_attention(q[0, 0], k[0, 0], v[0, 0], kernel_size=())
    with pytest.raises(ValueError, match="backend"):
        neighborhood_attention(q, k, v, kernel_size=(3, 3), backend="cuda")
