"""The public face of the block-scaled linear map: checks, dtypes, and which form runs."""

from typing import cast

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose, form_module, is_recorded
from omniform_kernels.block_linear import native
from omniform_kernels.block_linear.blocks import UNIT, dequantize_blocks
from omniform_kernels.block_linear.formats import FORMATS, Format
from omniform_kernels.checks import ShapeError, check_shape

__all__ = ["block_linear"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def block_linear(
    x: Tensor,
    packed: Tensor,
    scales: Tensor,
    bias: Tensor | None = None,
    *,
    format: Format = "e2m1",
    backend: Backend = "auto",
) -> Tensor:
    r"""Map tokens by a weight of 4 bits with a scale for each block of G inputs.

    .. math::
        y_{no} = \sum_i s_{o, \lfloor i / G \rfloor} \, \ell(w_{oi}) \, x_{ni} + b_o

    with :math:`\ell` the number that a code stands for. The gradients are those of a linear map; codes and scales get
    none.

    Args:
        x: tokens, (..., D).
        packed: w, two codes a byte as `quantize_blocks` packs them, (E, P / 2) uint8, P the inputs rounded up to whole
            blocks.
        scales: s, (E, P / G); they tell the block size.
        bias: b, (E,); zeros if None.
        format: of the codes.
        backend: "cpu" decodes a part of the weight and multiplies in floating point, "native" decodes in C++.

    Returns:
        y, (..., E), in the dtype of x; sums are in float32, or float64 if x is.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the weight is not packed, or the format or the backend does not exist.

    Source: Liu et al., LLM-FP4: 4-Bit Floating-Point Quantized Transformers, arXiv 2310.16836.
    """
    if format not in FORMATS:
        raise ValueError(f"expected format to be one of {', '.join(FORMATS)}; got {format!r}")
    E = _check(x, packed, scales, bias)
    form = choose(backend, x.device, x.dtype, native=native.LIBRARY, triton=_TRITON_DTYPES)
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    run = _forward if is_recorded(x, bias) else _run
    y = run(rows, packed.contiguous(), scales.contiguous(), bias, format, form)
    return y.view(*x.shape[:-1], E)


def _check(x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None) -> int:
    """Return the number of outputs."""
    if packed.ndim != 2 or packed.dtype != torch.uint8:
        raise ValueError(f"expected packed codes (E, P / 2) in uint8; got {tuple(packed.shape)} in {packed.dtype}")
    E, P = packed.shape[0], 2 * packed.shape[1]
    if scales.ndim != 2 or scales.shape[0] != E or scales.shape[1] == 0 or P % (UNIT * scales.shape[1]):
        raise ShapeError(
            f"expected scales ({E}, B), B blocks of a multiple of {UNIT} inputs; got {tuple(scales.shape)}"
        )
    G = P // scales.shape[1]
    if x.ndim == 0 or not P - G < x.shape[-1] <= P:
        raise ShapeError(f"expected x of shape (..., D) with {P - G} < D <= {P}; got {tuple(x.shape)}")
    check_shape("bias", bias, (E,))
    return E


def _run(x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, format: Format, form: str) -> Tensor:
    if form == "native":
        scales, bias = scales.float(), None if bias is None else bias.float().contiguous()
    return form_module(__name__, form).forward(x, packed, scales, bias, format).to(x.dtype)


@torch.library.custom_op("omniform::block_linear", mutates_args=())
def _forward(x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, format: str, form: str) -> Tensor:
    return _run(x, packed, scales, bias, cast("Format", format), form)


@_forward.register_fake
def _(x, packed, scales, bias, format, form):
    return x.new_empty(x.shape[0], packed.shape[0])


def _keep(ctx, inputs, output):
    x, packed, scales, bias, ctx.format, _ = inputs
    ctx.inputs, ctx.bias_dtype = x.shape[1], None if bias is None else bias.dtype
    ctx.save_for_backward(packed, scales)


def _differentiate(ctx, dy):
    packed, scales = ctx.saved_tensors
    dx = None
    if ctx.needs_input_grad[0]:
        dx = dy @ dequantize_blocks(packed, scales, ctx.format, ctx.inputs).to(dy.dtype)
    dbias = None if ctx.bias_dtype is None else dy.sum(0, dtype=ctx.bias_dtype)
    return dx, None, None, dbias, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)
