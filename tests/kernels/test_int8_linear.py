from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from omniform_kernels.checks import ShapeError
from omniform_kernels.int8_linear import int8_linear, native, quantize_rows, reference
from omniform_kernels.int8_linear.op import _forward

FORMS = ["cpu", "native", "triton"]
THRESHOLDS = [None, 6.0]


def make(N=7, D=70, E=33, dtype=torch.float32, outliers=True):
    """Return x with two columns of large entries, a quantised weight with its scales, and a bias."""
    x = torch.randn(N, D)
    if outliers:
        x[:, [D // 3, D // 2]] *= 20
    return x.to(dtype), *quantize_rows(torch.randn(E, D)), torch.randn(E)


def exact(x, weight, weight_scale, bias):
    """Return the map in numpy: int64 sums, float64 scales."""
    scale = np.abs(x).max(1, keepdims=True).astype(np.float32) * np.float32(1 / 127)
    whole = np.rint(x * (np.float32(1) / scale)).astype(np.int64)
    return (whole @ weight.astype(np.int64).T) * scale.astype(np.float64) * weight_scale + bias


def test_rows_are_quantised_to_the_nearest_whole_number():
    x = torch.tensor([[0.0, 1.0, -127.0, 63.5], [0.0, 0.0, 0.0, 0.0], [1e-3, 2e-3, -5e-4, 0.0]])
    whole, scale = quantize_rows(x)
    assert whole.tolist() == [[0, 1, -127, 64], [0, 0, 0, 0], [64, 127, -32, 0]]
    torch.testing.assert_close(scale[[0, 2]], torch.tensor([1.0, 2e-3 / 127]))
    error = (whole * scale[:, None] - x).abs()
    assert (error <= 0.5001 * scale[:, None]).all()
    whole, scale = quantize_rows(torch.randn(2, 3, 5, dtype=torch.bfloat16))
    assert (whole.shape, scale.shape, scale.dtype) == ((2, 3, 5), (2, 3), torch.float32)


@pytest.mark.parametrize("form", ["native", "triton"])
def test_all_forms_quantise_alike(form, device):
    """Bit for bit: a half that one form rounds up and another down would show as a step of the output."""
    x = torch.randn(200, 300) if form == "native" else torch.randn(20, 300)
    x[0], x[1, 0] = 0, 1e30
    x[2] = torch.arange(300) / 2 - 63.5  # halves
    if form == "native":
        whole, scale = native.quantize(x)
    else:
        from omniform_kernels.int8_linear import triton

        whole, scale = (tensor.cpu() for tensor in triton.quantize(x.to(device)))
    expected, expected_scale = reference.quantize(x)
    assert torch.equal(whole, expected)
    assert torch.equal(scale, expected_scale)


@pytest.mark.parametrize("form", ["reference", *FORMS])
def test_equals_integers_in_numpy(form, on):
    x, weight, scale, bias = make()
    expected = torch.from_numpy(exact(x.numpy(), weight.numpy(), scale.numpy(), bias.numpy()))
    y = int8_linear(*on(form, x, weight, scale, bias), backend=form).cpu()
    torch.testing.assert_close(y.double(), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("form", ["cpu", "native", "triton"])
def test_sums_are_exact_where_they_are_largest(form, on):
    """D * 127^2 is 2^27 here: no form may round or saturate on the way."""
    N = 5
    x = torch.full((N, 8191), 1.0)
    weight = torch.full((16, 8191), 127, dtype=torch.int8)
    x[:, 5], weight[3:5] = -1.0, -127
    scale = torch.full((16,), 1 / 127)
    expected = torch.full((N, 16), 8189.0)
    expected[:, 3:5] = -8189.0
    y = int8_linear(*on(form, x, weight, scale), backend=form).cpu()
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 63, 500), (2, 64, 33), (3, 500, 20), (9, 129, 65)])
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_definition(agree, form, shape, threshold, on):
    x, weight, scale, bias = on(form, *make(*shape))
    function = partial(int8_linear, threshold=threshold)
    agree(
        lambda x, bias: function(x, weight, scale, bias, backend=form),
        lambda x, bias: function(x, weight, scale, bias, backend="reference"),
        [x, bias],
        1e-6,
    )


def test_plain_form_equals_the_definition_in_double():
    x, weight, scale, bias = make(dtype=torch.float64)
    y, expected = (int8_linear(x, weight, scale, bias, threshold=6.0, backend=form) for form in ("cpu", "reference"))
    assert y.dtype == torch.float64
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("form", ["cpu", "triton"])
def test_bfloat16_is_as_close_as_its_rounding(form, threshold, on):
    x, weight, scale, bias = make(dtype=torch.bfloat16)
    y = int8_linear(*on(form, x, weight, scale, bias), threshold=threshold, backend=form).cpu()
    expected = int8_linear(x.float(), weight, scale, bias, threshold=threshold, backend="reference")
    assert y.dtype == torch.bfloat16
    assert (y - expected).abs().max() <= 2**-7 * expected.abs().max()


def test_the_lowest_threshold_is_floating_point_and_the_highest_is_none():
    x, weight, scale, bias = make()
    every = int8_linear(x, weight, scale, bias, threshold=0.0)
    torch.testing.assert_close(every, F.linear(x, weight * scale[:, None], bias), rtol=1e-5, atol=1e-4)
    none = int8_linear(x, weight, scale, bias, threshold=torch.inf)
    torch.testing.assert_close(none, int8_linear(x, weight, scale, bias), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_an_outlier_column_does_not_coarsen_the_others(form, on):
    """An infinity in one column reaches no other product."""
    x, weight, scale, _ = make(outliers=False)
    x[:, 3] = torch.inf
    weight[:, 3] = weight[:, 3].clamp(max=-1)
    y = int8_linear(*on(form, x, weight, scale), threshold=6.0, backend=form)
    assert (y == -torch.inf).all()
    x[:, 3] = 1e4
    weight[:, 3] = 0
    y = int8_linear(*on(form, x, weight, scale), threshold=6.0, backend=form).cpu()
    kept = [i for i in range(x.shape[1]) if i != 3]
    expected = int8_linear(x[:, kept], weight[:, kept], scale, backend="reference")
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # of the interpreter
@pytest.mark.parametrize("form", ["cpu", "native", "triton"])
def test_nan_stays_in_its_row(form, on):
    x, weight, scale, _ = on(form, *make())
    x[3, 5] = torch.nan
    y = int8_linear(x, weight, scale, backend=form)
    assert y[3].isnan().all()
    assert y[[0, 1, 2, 4, 5, 6]].isfinite().all()


def test_gradient_is_that_of_the_dequantised_map(gradients):
    x, weight, scale, bias = make()
    dense = weight * scale[:, None]
    actual = gradients(lambda x, b: int8_linear(x, weight, scale, b, threshold=6.0), [x, bias])
    expected = gradients(lambda x, b: F.linear(x, dense, b), [x, bias])
    for a, e in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-4)


def test_equals_onnx_runtime_on_the_same_whole_numbers():
    """MatMulInteger on our quantised rows; its own quantiser scales a whole tensor, not a row."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    x, weight, scale, _ = make()
    whole, row_scale = quantize_rows(x)
    helper, TensorProto = onnx.helper, onnx.TensorProto
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.INT8, [None, None]) for name in "ab"]
    result = helper.make_tensor_value_info("y", TensorProto.INT32, [None, None])
    model = helper.make_model(
        helper.make_graph([node], "product", values, [result]),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (products,) = session.run(None, {"a": whole.numpy(), "b": weight.T.contiguous().numpy()})
    expected = torch.from_numpy(products) * scale * row_scale[:, None]
    torch.testing.assert_close(int8_linear(x, weight, scale), expected, rtol=1e-6, atol=1e-5)


def test_quantised_rows_equal_torchao():
    primitives = pytest.importorskip("torchao.quantization.quant_primitives")
    x = torch.randn(9, 40)
    arguments = {
        "mapping_type": primitives.MappingType.SYMMETRIC,
        "block_size": (1, 40),
        "target_dtype": torch.int8,
        "quant_min": -127,
        "quant_max": 127,
    }
    scale, zero = primitives.choose_qparams_affine(x, **arguments, eps=1e-12)
    expected = primitives.quantize_affine(x, (1, 40), scale, zero, torch.int8, -127, 127)
    whole, our_scale = quantize_rows(x)
    torch.testing.assert_close(our_scale, scale.flatten(), rtol=1e-6, atol=0)
    assert (whole - expected).abs().max() <= 1  # it divides where we multiply
    assert (whole != expected).float().mean() < 0.01


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(FORMS),
    N=st.integers(0, 9),
    D=st.integers(1, 140),
    E=st.integers(1, 70),
    size=st.floats(1e-6, 1e6),
    threshold=st.sampled_from(THRESHOLDS),
)
def test_any_shape(on, form, N, D, E, size, threshold):
    if form == "native" and not native.LIBRARY.available():
        return
    x, weight, scale, bias = on(form, *make(N, D, E))
    actual, expected = (
        int8_linear(x * size, weight, scale, bias, threshold=threshold, backend=f) for f in (form, "reference")
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5 * max(size * D, 1))


@pytest.mark.parametrize("form", FORMS)
def test_every_entry_is_written(form, on, poison):
    inputs = on(form, *make())
    expected = int8_linear(*inputs, backend="reference")
    poison()
    for rows in (1, 7):
        y = int8_linear(inputs[0][:rows], *inputs[1:], backend=form)
        torch.testing.assert_close(y, expected[:rows], rtol=1e-6, atol=1e-5)


@pytest.mark.skipif(not native.LIBRARY.available(), reason="no C++ compiler")
def test_a_weight_that_changes_in_place_is_ordered_anew():
    x, weight, scale, _ = make()
    before = int8_linear(x, weight, scale, backend="native")
    weight.neg_()
    torch.testing.assert_close(int8_linear(x, weight, scale, backend="native"), -before, rtol=1e-6, atol=1e-6)
    with torch.inference_mode():
        fresh = weight.clone()
        torch.testing.assert_close(int8_linear(x, fresh, scale, backend="native"), -before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", ["reference", "cpu", "native", "triton"])
def test_custom_op_is_sound(form, on):
    x, weight, scale, bias = on(form, *make())
    inputs = (x.requires_grad_(), weight, scale, bias.requires_grad_())
    torch.library.opcheck(_forward, (*inputs, 6.0, form))
    torch.library.opcheck(_forward, (x, weight, scale, None, None, form))


@pytest.mark.parametrize("form", FORMS)
def test_compiles_without_graph_break(agree, compiled, form, on):
    x, weight, scale, bias = on(form, *make())

    def function(x, bias):
        return int8_linear(x[None], weight, scale, bias, threshold=6.0, backend=form)

    agree(compiled(function), function, [x, bias], 1e-6)


def test_exports_with_operators_of_torch():
    x, weight, scale, bias = make()

    class Map(torch.nn.Module):
        def forward(self, x):
            return int8_linear(x, weight, scale, bias)

    program = torch.export.export(Map(), (x,))
    assert not any("omniform" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), Map()(x), rtol=1e-6, atol=1e-5)


def test_refuses_what_does_not_fit():
    x, weight, scale, bias = make()
    with pytest.raises(ShapeError, match="expected x of shape"):
        int8_linear(x[:, 1:], weight, scale)
    with pytest.raises(ShapeError, match="expected weight_scale of shape"):
        int8_linear(x, weight, scale[1:])
    with pytest.raises(ShapeError, match="expected bias of shape"):
        int8_linear(x, weight, scale, bias[1:])
    with pytest.raises(ValueError, match="int8"):
        int8_linear(x, weight.float(), scale)
    with pytest.raises(ValueError, match="backend"):
        int8_linear(x, weight, scale, backend="cuda")
