"""The public face of the binary linear map: checks, dtypes, and which form runs."""

from typing import cast, get_args

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose, form_module, is_recorded
from omniform_kernels.binary_linear import native
from omniform_kernels.binary_linear.reference import WORD, Activations, unpack_signs
from omniform_kernels.checks import ShapeError, check_shape

__all__ = ["binary_linear"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def binary_linear(
    x: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
    *,
    activations: Activations = "int8",
    backend: Backend = "auto",
) -> Tensor:
    r"""Map tokens by a weight of signs, the tokens quantised as they come.

    .. math::
        y_{no} = s_n c_o \sum_i q_{ni} w_{oi} + b_o

    with q of 8 bits, :math:`s_n = \max_i |x_{ni}| / 127` and :math:`q_{ni} = \operatorname{round}(x_{ni} / s_n)`, or of
    one bit, :math:`s_n = \overline{|x_n|}` and :math:`q_{ni} = \operatorname{sign} x_{ni}`, the sign of 0 being 1. The
    sum is exact, in integers.

    The gradient of x is that of the map with the weight c w and x as it came (straight through the rounding); weight
    and scales get none.

    Args:
        x: tokens, (..., D).
        weight: w, -1 or 1, packed by `pack_signs`: (E, W) int64 with W = D / 64, rounded up.
        weight_scale: c, (E,), or one for all, ().
        bias: b, (E,); zeros if None.
        activations: what becomes of the tokens: "int8" or "sign".
        backend: "cpu" unpacks the weight and multiplies by torch's int8 product; "native" counts bits.

    Returns:
        y, (..., E), in the dtype of x; computed in float32, or float64 if x is.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the weight is not packed, or the backend or the kind of activations does not exist.

    Source: Rastegari et al., XNOR-Net, arXiv 1603.05279 (signs); Wang et al., BitNet, arXiv 2310.11453 (8 bits).
    """
    if activations not in get_args(Activations):
        raise ValueError(f"expected activations to be one of {', '.join(get_args(Activations))}; got {activations!r}")
    E = _check(x, weight, weight_scale, bias)
    form = choose(backend, x.device, x.dtype, native=native.LIBRARY, triton=_TRITON_DTYPES)
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    run = _forward if is_recorded(x, bias) else _run
    y = run(rows, weight.contiguous(), weight_scale.expand(E).contiguous(), bias, activations, form)
    return y.view(*x.shape[:-1], E)


def _check(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> int:
    """Return the number of outputs."""
    if weight.ndim != 2 or weight.dtype != torch.int64:
        raise ValueError(
            f"expected weight (E, W) in int64; got {tuple(weight.shape)} in {weight.dtype}: pack its signs"
        )
    E, W = weight.shape
    if x.ndim == 0 or -(-x.shape[-1] // WORD) != W:
        raise ShapeError(f"expected x of shape (..., D) with {WORD * W - WORD} < D <= {WORD * W}; got {tuple(x.shape)}")
    check_shape("weight_scale", weight_scale, (E,), ())
    check_shape("bias", bias, (E,))
    return E


def _run(
    x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, activations: Activations, form: str
) -> Tensor:
    if form == "native":
        weight_scale, bias = weight_scale.float(), None if bias is None else bias.float().contiguous()
    return form_module(__name__, form).forward(x, weight, weight_scale, bias, activations).to(x.dtype)


@torch.library.custom_op("omniform::binary_linear", mutates_args=())
def _forward(
    x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, activations: str, form: str
) -> Tensor:
    return _run(x, weight, weight_scale, bias, cast("Activations", activations), form)


@_forward.register_fake
def _(x, weight, weight_scale, bias, activations, form):
    return x.new_empty(x.shape[0], weight.shape[0])


def _keep(ctx, inputs, output):
    x, weight, weight_scale, bias, _, _ = inputs
    ctx.inputs, ctx.bias_dtype = x.shape[1], None if bias is None else bias.dtype
    ctx.save_for_backward(weight, weight_scale)


def _differentiate(ctx, dy):
    weight, weight_scale = ctx.saved_tensors
    dx = None
    if ctx.needs_input_grad[0]:
        dx = (dy * weight_scale.to(dy.dtype)) @ unpack_signs(weight, ctx.inputs).to(dy.dtype)
    dbias = None if ctx.bias_dtype is None else dy.sum(0, dtype=ctx.bias_dtype)
    return dx, None, None, dbias, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)
