from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.binary_linear import binary_linear, native, pack_signs, unpack_signs
from omniform_kernels.binary_linear.op import _forward
from omniform_kernels.checks import ShapeError
from omniform_kernels.int8_linear import quantize_rows

FORMS = ["cpu", "native", "triton"]
KINDS = ["int8", "sign"]


def make(N=7, D=70, E=33, dtype=torch.float32):
    """Return x, packed signs, their scales, and a bias."""
    return torch.randn(N, D).to(dtype), pack_signs(torch.randn(E, D)), torch.rand(E) + 0.5, torch.randn(E)


@pytest.mark.parametrize("D", [1, 63, 64, 65, 500])
def test_signs_survive_packing(D):
    x = torch.randn(2, 3, D)
    x[0, 0, 0] = 0
    words = pack_signs(x)
    assert (words.shape, words.dtype) == ((2, 3, -(-D // 64)), torch.int64)
    assert torch.equal(unpack_signs(words, D), torch.where(x >= 0, 1, -1).to(torch.int8))
    unused = words[..., -1] >> (D % 64) if D % 64 else torch.zeros(())
    assert not unused.any()


def test_a_weight_takes_a_bit():
    weight = torch.randn(256, 1024)
    assert pack_signs(weight).nbytes * 32 == weight.nbytes


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_equals_sums_of_signs(form, on):
    """Counted bits are sums of signs, exactly: scales of 1 leave whole numbers."""
    x, weight = torch.randn(9, 500).sign(), torch.randn(20, 500)
    signs = torch.where(weight >= 0, 1, -1)
    y = binary_linear(*on(form, x, pack_signs(weight), torch.ones(20)), activations="sign", backend=form)
    assert torch.equal(y.cpu().long(), x.long() @ signs.T)


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_equals_sums_of_bytes(form, on):
    """A row whose largest entry is 127 has a scale of 1 and whole numbers that are its own entries."""
    x, weight = torch.randint(-127, 128, (9, 500)).float(), torch.randn(20, 500)
    x[:, 0] = -127
    signs = torch.where(weight >= 0, 1, -1)
    y = binary_linear(*on(form, x, pack_signs(weight), torch.ones(())), backend=form)
    assert torch.equal(y.cpu().round().long(), x.long() @ signs.T)
    torch.testing.assert_close(y.cpu(), y.cpu().round(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_its_equation(kind):
    x, words, scale, bias = make(dtype=torch.float64)
    if kind == "int8":
        whole, row = quantize_rows(x)
    else:
        whole, row = torch.where(x >= 0, 1, -1), x.abs().mean(1)
    expected = F.linear(whole * row[:, None], unpack_signs(words, 70) * scale.double()[:, None], bias.double())
    actual = binary_linear(x, words, scale, bias, activations=kind, backend="reference")
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 63, 500), (2, 64, 33), (3, 500, 20), (80, 129, 17)])
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_definition(agree, form, shape, kind, on):
    x, weight, scale, bias = on(form, *make(*shape))

    def run(x, bias, backend):
        return binary_linear(x, weight, scale, bias, activations=kind, backend=backend)

    agree(partial(run, backend=form), partial(run, backend="reference"), [x, bias], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["cpu", "triton"])
def test_bfloat16_is_as_close_as_its_rounding(form, kind, on):
    x, weight, scale, bias = make(dtype=torch.bfloat16)
    y = binary_linear(*on(form, x, weight, scale, bias), activations=kind, backend=form).cpu()
    expected = binary_linear(x.float(), weight, scale, bias, activations=kind, backend="reference")
    assert y.dtype == torch.bfloat16
    assert (y - expected).abs().max() <= 2**-7 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_map_by_signs(gradients, kind):
    x, weight, scale, bias = make()
    dense = unpack_signs(weight, 70) * scale[:, None]
    actual = gradients(lambda x, b: binary_linear(x, weight, scale, b, activations=kind), [x, bias])
    expected = gradients(lambda x, b: F.linear(x, dense, b), [x, bias])
    for a, e in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(FORMS),
    kind=st.sampled_from(KINDS),
    N=st.integers(0, 9),
    D=st.integers(1, 200),
    E=st.integers(1, 40),
    size=st.floats(1e-6, 1e6),
)
def test_any_shape(on, form, kind, N, D, E, size):
    if form == "native" and not native.LIBRARY.available():
        return
    x, weight, scale, bias = on(form, *make(N, D, E))
    actual, expected = (
        binary_linear(x * size, weight, scale, bias, activations=kind, backend=f) for f in (form, "reference")
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5 * max(size, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_every_entry_is_written(form, kind, on, poison):
    inputs = on(form, *make())
    expected = binary_linear(*inputs, activations=kind, backend="reference")
    poison()
    y = binary_linear(*inputs, activations=kind, backend=form)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_custom_op_is_sound(form, on):
    x, weight, scale, bias = on(form, *make())
    torch.library.opcheck(_forward, (x.requires_grad_(), weight, scale, bias.requires_grad_(), "int8", form))
    torch.library.opcheck(_forward, (x, weight, scale, None, "sign", form))


@pytest.mark.parametrize("form", FORMS)
def test_compiles_without_graph_break(agree, compiled, form, on):
    x, weight, scale, bias = on(form, *make())

    def function(x, bias):
        return binary_linear(x[None], weight, scale, bias, backend=form)

    agree(compiled(function), function, [x, bias], 1e-6)


def test_refuses_what_does_not_fit():
    x, weight, scale, bias = make()
    with pytest.raises(ShapeError, match="64 < D <= 128"):
        binary_linear(x[:, :64], weight, scale)
    with pytest.raises(ShapeError, match="expected weight_scale of shape"):
        binary_linear(x, weight, scale[1:])
    with pytest.raises(ShapeError, match="expected bias of shape"):
        binary_linear(x, weight, scale, bias[1:])
    with pytest.raises(ValueError, match="pack its signs"):
        binary_linear(x, weight.float(), scale)
    with pytest.raises(ValueError, match="int8, sign"):
        binary_linear(x, weight, scale, activations="ternary")
