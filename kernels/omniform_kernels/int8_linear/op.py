"""The public face of the 8-bit linear map: checks, dtypes, and which form runs."""

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose, form_module, is_recorded
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.int8_linear import native, reference

__all__ = ["int8_linear", "quantize_rows"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return whole numbers of 8 bits and a scale for each row: :math:`s = \max_i |x_i| / 127`, round(x / s).

    Args:
        x: (..., D).

    Returns:
        The whole numbers from -127 to 127, (..., D) int8, and s, (...) in float32, or float64 if x is.
    """
    rows = x.reshape(-1, x.shape[-1])
    whole, scale = reference.quantize(rows.to(torch.promote_types(x.dtype, torch.float32)))
    return whole.view(x.shape), scale.view(x.shape[:-1])


def int8_linear(
    x: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
    *,
    threshold: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Map tokens by a weight of 8 bits, the tokens quantised to 8 bits as they come.

    .. math::
        y_{no} = s_n c_o \sum_{i \notin \mathcal E} q_{ni} w_{oi} + c_o \sum_{i \in \mathcal E} x_{ni} w_{oi} + b_o,
        \qquad s_n = \max_{i \notin \mathcal E} |x_{ni}| / 127, \quad q_{ni} = \operatorname{round}(x_{ni} / s_n)

    The first sum is exact, in integers. The second, over the outlier columns, is in floating point.

    The gradient of x is that of the map with the weight c w and x as it came (straight through the rounding); weight
    and scales get none.

    Args:
        x: tokens, (..., D).
        weight: w, (E, D) int8; with its scales it is what `quantize_rows` makes of a weight.
        weight_scale: c, (E,).
        bias: b, (E,); zeros if None.
        threshold: a column in which any token of this call is at least so large, in magnitude, is an outlier; None for
            no outliers. Published results use 6.
        backend: "cpu" multiplies by torch's int8 product; "native" also quantises in C++ and keeps the weight in
            oneDNN's order, a second copy of it.

    Returns:
        y, (..., E), in the dtype of x; computed in float32, or float64 if x is.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the weight is not int8, or the backend does not exist or cannot run here.

    Source: Dettmers et al., LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, arXiv 2208.07339.
    """
    _check(x, weight, weight_scale, bias)
    form = choose(backend, x.device, x.dtype, native=native.LIBRARY, triton=_TRITON_DTYPES)
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    run = _forward if is_recorded(x, bias) else _run
    y = run(rows, weight.contiguous(), weight_scale.contiguous(), bias, threshold, form)
    return y.view(*x.shape[:-1], weight.shape[0])


def _check(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> None:
    if weight.ndim != 2 or weight.dtype != torch.int8:
        raise ValueError(f"expected weight (E, D) in int8; got {tuple(weight.shape)} in {weight.dtype}: quantize it")
    E, D = weight.shape
    if x.ndim == 0 or x.shape[-1] != D:
        raise ShapeError(f"expected x of shape (..., {D}); got {tuple(x.shape)}")
    check_shape("weight_scale", weight_scale, (E,))
    check_shape("bias", bias, (E,))


def _run(
    x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, threshold: float | None, form: str
) -> Tensor:
    if form == "native":
        weight_scale, bias = weight_scale.float(), None if bias is None else bias.float().contiguous()
    return form_module(__name__, form).forward(x, weight, weight_scale, bias, threshold).to(x.dtype)


@torch.library.custom_op("omniform::int8_linear", mutates_args=())
def _forward(
    x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, threshold: float | None, form: str
) -> Tensor:
    return _run(x, weight, weight_scale, bias, threshold, form)


@_forward.register_fake
def _(x, weight, weight_scale, bias, threshold, form):
    return x.new_empty(x.shape[0], weight.shape[0])


def _keep(ctx, inputs, output):
    _, weight, weight_scale, bias, _, _ = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(weight, weight_scale)


def _differentiate(ctx, dy):
    weight, weight_scale = ctx.saved_tensors
    dx = (dy * weight_scale.to(dy.dtype)) @ weight.to(dy.dtype) if ctx.needs_input_grad[0] else None
    dbias = None if ctx.bias_dtype is None else dy.sum(0, dtype=ctx.bias_dtype)
    return dx, None, None, dbias, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)
