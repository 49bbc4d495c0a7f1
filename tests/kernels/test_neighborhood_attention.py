from functools import partial

import pytest
import torch
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.neighborhood_attention import neighborhood_attention

# grid, kernel size, dilation: odd and even kernels, wider than the grid or than a residue class, partial tiles
SHAPES = [
    ((1,), (3,), (1,)),
    ((63,), (7,), (1,)),
    ((130,), (4,), (3,)),
    ((20,), (33,), (1,)),
    ((5,), (3,), (7,)),
    ((9, 13), (3, 5), (2, 1)),
    ((3, 20), (7, 3), (2, 7)),
    ((5, 6, 7), (3, 3, 2), (1, 2, 3)),
]


def make(grid, kernel_size, dtype=torch.float64):
    """Return [q, k, v, bias]."""
    shapes = [(2, *grid, 3, 5), (2, *grid, 3, 5), (2, *grid, 3, 4), (3, *(2 * size - 1 for size in kernel_size))]
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def run(q, k, v, bias=None, **options):
    return neighborhood_attention(q, k, v, bias=bias, **options)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("grid", "kernel_size", "dilation"), SHAPES)
def test_tiles_equal_dense(agree, grid, kernel_size, dilation, biased, masked):
    inputs = make(grid, kernel_size)[: 4 if biased else 3]
    mask = torch.rand(2, *grid) > 0.6 if masked else None
    call = partial(run, kernel_size=kernel_size, dilation=dilation, mask=mask)
    agree(partial(call, backend="cpu"), partial(call, backend="reference"), inputs)


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


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_masked_tokens_change_nothing_and_may_be_anything(backend):
    q, k, v, _ = make((9, 10), (3, 3))
    mask = torch.rand(2, 9, 10) > 0.5
    call = partial(neighborhood_attention, q, kernel_size=(3, 3), mask=mask, backend=backend)
    junk = torch.where(mask[..., None, None], 0.0, 1e30).double()
    assert torch.equal(call(k, v), call(k + junk, v + junk))
    nobody = neighborhood_attention(q, k, v, kernel_size=(3, 3), mask=torch.zeros_like(mask), backend=backend)
    assert (nobody == 0).all()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradcheck_twice(backend):
    inputs = [tensor[:1, :, :1, :2].clone().requires_grad_() for tensor in make((5,), (3,))[:3]]
    call = partial(run, kernel_size=(3,), dilation=(2,), backend=backend)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_float32_is_close_to_float64(gradients):
    """1e-5 of the largest entry; float32 rounding alone is 1e-7."""
    inputs = make((20, 20), (5, 5), torch.float32)
    call = partial(run, kernel_size=(5, 5))
    exact = gradients(partial(call, backend="reference"), [tensor.double() for tensor in inputs])
    for actual, expected in zip(gradients(call, inputs), exact, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_bfloat16_and_autocast_compute_in_float32():
    inputs = make((40,), (5,), torch.bfloat16)
    out = run(*inputs, kernel_size=(5,))
    wide = [tensor.float() for tensor in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(*wide, kernel_size=(5,)).bfloat16(), out)
    assert out.dtype == torch.bfloat16


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
            run(*inputs, kernel_size=(7,))
        counts.append(sum(saved.values()))
    assert counts[1] <= 2.1 * counts[0]


def test_compiles_without_graph_break(agree, compiled):
    call = partial(run, kernel_size=(3,), dilation=(2,))
    fast = compiled(call)
    for grid in ((30,), (41,)):
        agree(fast, call, make(grid, (3,)))


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
    with pytest.raises(ShapeError, match="rank 1 to 3"):
        neighborhood_attention(q[0, 0], k[0, 0], v[0, 0], kernel_size=())
    with pytest.raises(ValueError, match="backend"):
        neighborhood_attention(q, k, v, kernel_size=(3, 3), backend="cuda")
