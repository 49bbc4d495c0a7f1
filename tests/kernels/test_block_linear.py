from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.block_linear import (
    FORMATS,
    block_linear,
    dequantize_blocks,
    largest,
    levels,
    native,
    nearest,
    quantize_blocks,
)
from omniform_kernels.block_linear.op import _forward
from omniform_kernels.checks import ShapeError

FORMS = ["cpu", "native", "triton"]
FLOATING = ["e1m2", "e2m1", "e3m0"]


def make(N=7, D=70, E=33, dtype=torch.float32, format="e2m1", block_size=32):
    """Return x, packed codes, scales and a bias."""
    return torch.randn(N, D).to(dtype), *quantize_blocks(torch.randn(E, D), format, block_size), torch.randn(E)


def test_code_points_are_those_of_ml_dtypes():
    """Its float4_e2m1fn counts in units of a half; e3m0 is the exponents of 3 bits alone."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    codes = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    assert [level / 2 for level in levels("e2m1")] == codes.tolist()
    assert levels("e1m2") == (0, 1, 2, 3, 4, 5, 6, 7, 0, -1, -2, -3, -4, -5, -6, -7)
    assert levels("e3m0")[:8] == (0, 1, 2, 4, 8, 16, 32, 64)
    whole = np.arange(16, dtype=np.uint8).view(ml_dtypes.int4).astype(np.int32)
    assert list(levels("int4")) == whole.tolist()


def test_rounds_as_ml_dtypes_does():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = torch.cat([torch.randn(2000) * 5, torch.arange(-28, 29) / 2])  # ties too
    expected = (x.numpy() / 2).astype(ml_dtypes.float4_e2m1fn).astype(np.float32) * 2
    assert nearest(x, "e2m1").tolist() == expected.tolist()


@pytest.mark.parametrize("format", FORMATS)
def test_takes_the_nearest_number(format):
    x = torch.randn(1000, dtype=torch.float64) * largest(format) / 2
    table = torch.tensor(levels(format), dtype=torch.float64)
    distance = (x[:, None] - table).abs().amin(1)
    y = nearest(x, format)
    torch.testing.assert_close((y - x).abs(), distance, rtol=0, atol=0)
    assert torch.equal(nearest(y, format), y)


@pytest.mark.parametrize("block_size", [32, 96, None])
@pytest.mark.parametrize("format", FORMATS)
def test_quantising_twice_changes_nothing(format, block_size):
    weight = torch.randn(5, 70)
    once = dequantize_blocks(*quantize_blocks(weight, format, block_size), format, 70)
    again = dequantize_blocks(*quantize_blocks(once, format, block_size), format, 70)
    torch.testing.assert_close(again, once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_weight_takes_half_a_byte_and_its_scales(format):
    packed, scales = quantize_blocks(torch.randn(6, 256), format, 64)
    assert (packed.shape, packed.dtype) == ((6, 128), torch.uint8)
    assert (scales.shape, scales.dtype) == ((6, 4), torch.float32)


@pytest.mark.parametrize("format", FORMATS)
def test_dequantises_to_the_nearest_number_of_each_block(format):
    weight = torch.randn(4, 100)
    packed, scales = quantize_blocks(weight, format, 32)
    actual = dequantize_blocks(packed, scales, format, 100)
    for o in range(4):
        for start in range(0, 100, 32):
            block = weight[o, start : start + 32]
            scale = block.abs().max() / largest(format)
            torch.testing.assert_close(actual[o, start : start + 32], nearest(block / scale, format) * scale)


@pytest.mark.parametrize("format", FORMATS)
def test_the_best_ratio_errs_no_more_than_the_full_range(format):
    weight = torch.randn(20, 128).double().pow(3).float()  # heavy tails
    importance = torch.rand(128)

    def error(ratios):
        quantised = quantize_blocks(weight, format, 64, ratios=ratios, importance=importance)
        difference = dequantize_blocks(*quantised, format, 128) - weight
        return (difference.square() * importance).view(20, 2, 64).sum(-1)

    full, best = error((1.0,)), error((1.0, 0.9, 0.8, 0.7, 0.6, 0.5))
    assert (best <= full).all()
    assert best.sum() < 0.97 * full.sum()


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 32), (1, 63, 50, 32), (3, 500, 20, 128), (9, 129, 65, None), (2, 96, 5, 96)]
)
@pytest.mark.parametrize("format", ["int4", "e2m1"])
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_definition(agree, form, format, shape, on):
    N, D, E, block_size = shape
    x, packed, scales, bias = on(form, *make(N, D, E, format=format, block_size=block_size))

    def run(x, bias, backend):
        return block_linear(x, packed, scales, bias, format=format, backend=backend)

    agree(partial(run, backend=form), partial(run, backend="reference"), [x, bias], 1e-5)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_decodes_every_code(form, format, on):
    """A unit matrix reads the weight out: every code, times its block's scale."""
    weight = torch.tensor(levels(format)).float().repeat(3, 4) * torch.tensor([[1.0], [0.5], [4.0]])
    packed, scales = quantize_blocks(weight, format, 32)
    y = block_linear(*on(form, torch.eye(64), packed, scales), format=format, backend=form)
    expected = weight.T if format != "int4" else dequantize_blocks(packed, scales, format, 64).T
    torch.testing.assert_close(y.cpu(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("form", ["cpu", "triton"])
def test_bfloat16_is_as_close_as_its_rounding(form, on):
    x, packed, scales, bias = make(dtype=torch.bfloat16)
    y = block_linear(*on(form, x, packed, scales, bias), backend=form).cpu()
    expected = block_linear(x.double(), packed, scales, bias, backend="reference")
    assert y.dtype == torch.bfloat16
    assert (y - expected).abs().max() <= 2**-7 * expected.abs().max()


def test_parts_of_the_weight_make_the_whole():
    """The plain form works on 1024 outputs at a time."""
    x, packed, scales, bias = make(3, 40, 2050)
    y, expected = (block_linear(x, packed, scales, bias, backend=form) for form in ("cpu", "reference"))
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    if native.LIBRARY.available():
        many = block_linear(x.repeat(4, 1), packed, scales, bias, backend="native")
        torch.testing.assert_close(many, expected.repeat(4, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["reference", "cpu"])
def test_gradcheck(form):
    x, packed, scales, bias = make(3, 40, 5, dtype=torch.float64)
    function = partial(block_linear, backend=form)
    inputs = (x.requires_grad_(), packed, scales, bias.double().requires_grad_())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_gradient_is_that_of_the_dequantised_map(gradients):
    x, packed, scales, bias = make()
    dense = dequantize_blocks(packed, scales, "e2m1", 70)
    actual = gradients(lambda x, b: block_linear(x, packed, scales, b), [x, bias])
    expected = gradients(lambda x, b: F.linear(x, dense, b), [x, bias])
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(FORMS),
    format=st.sampled_from(FORMATS),
    block_size=st.sampled_from([32, 64, 128, None]),
    N=st.integers(0, 9),
    D=st.integers(1, 200),
    E=st.integers(1, 40),
    size=st.floats(1e-6, 1e6),
)
def test_any_shape(on, form, format, block_size, N, D, E, size):
    if form == "native" and not native.LIBRARY.available():
        return
    x, packed, scales, bias = on(form, *make(N, D, E, format=format, block_size=block_size))
    actual, expected = (
        block_linear(x * size, packed, scales, bias, format=format, backend=f) for f in (form, "reference")
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * max(size, 1))


@pytest.mark.parametrize("form", FORMS)
def test_every_entry_is_written(form, on, poison):
    inputs = on(form, *make())
    expected = block_linear(*inputs, backend="reference")
    poison()
    for rows in (1, 7):
        y = block_linear(inputs[0][:rows], *inputs[1:], backend=form)
        torch.testing.assert_close(y, expected[:rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_custom_op_is_sound(form, on):
    x, packed, scales, bias = on(form, *make())
    torch.library.opcheck(_forward, (x.requires_grad_(), packed, scales, bias.requires_grad_(), "e2m1", form))
    torch.library.opcheck(_forward, (x, packed, scales, None, "int4", form))


@pytest.mark.parametrize("form", FORMS)
def test_compiles_without_graph_break(agree, compiled, form, on):
    x, packed, scales, bias = on(form, *make())

    def function(x, bias):
        return block_linear(x[None], packed, scales, bias, backend=form)

    agree(compiled(function), function, [x, bias], 1e-6)


def test_refuses_what_does_not_fit():
    x, packed, scales, bias = make()
    with pytest.raises(ShapeError, match="64 < D <= 96"):
        block_linear(x[:, :64], packed, scales)
    with pytest.raises(ShapeError, match="expected scales"):
        block_linear(x, packed, scales[1:])
    with pytest.raises(ShapeError, match="expected bias of shape"):
        block_linear(x, packed, scales, bias[1:])
    with pytest.raises(ShapeError, match="multiple of 32"):
        quantize_blocks(torch.randn(3, 64), "int4", 48)
    with pytest.raises(ShapeError, match="not empty"):
        quantize_blocks(torch.randn(3, 0))
    with pytest.raises(ValueError, match="uint8"):
        block_linear(x, packed.int(), scales)
    with pytest.raises(ValueError, match="int4, e1m2"):
        block_linear(x, packed, scales, format="nf4")
    with pytest.raises(ValueError, match="int4, e1m2"):
        quantize_blocks(torch.randn(3, 64), "nf4")
