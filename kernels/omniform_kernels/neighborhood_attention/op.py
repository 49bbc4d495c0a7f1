"""The public face of neighborhood attention: checks, dtypes, and which form runs."""

from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from omniform_kernels.backends import Backend, choose, form_module
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.neighborhood_attention import cpu, native, reference
from omniform_kernels.neighborhood_attention.window import Window

__all__ = ["neighborhood_attention"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def neighborhood_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    kernel_size: tuple[int, ...],
    dilation: tuple[int, ...] | None = None,
    stride: tuple[int, ...] | None = None,
    causal: tuple[bool, ...] | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Attend from each token of a grid to its nearest neighbours.

    .. math::
        o_i = \sum_{j \in \rho(i)} \operatorname{softmax}_j(s\, q_i \cdot k_j + b_{(j - i) / d})\, v_j

    Each axis, with a kernel size K, dilation d and stride S of its own, lets token i see tokens of its residue class
    modulo d, of which it is number p of n; along all axes together, :math:`\rho(i)` is the product of what they let it
    see. Numbers are grouped by S, and all of a group see what its leader sees:

    - not causal: the leader is number l = min(p // S * S + S // 2, n - 1), and K tokens are seen, from l - K // 2 on,
      moved inward at borders so that there are always K. A class of fewer than K tokens is seen whole.
    - causal: the leader is the last of the group, number l = min(p // S * S + S - 1, n - 1), and what is seen begins at
      l - K + 1 but ends at p: the K tokens up to and with token i if S = 1. At the border there are fewer.

    With S = 1 every token is its own leader: a window slides. With S = K and no causality the windows do not overlap.

    Args:
        q, k: queries and keys on a grid of rank 1 to 3, (B, *grid, H, D).
        v: values, (B, *grid, H, Dv).
        kernel_size: K per axis.
        dilation: d per axis; 1 if None.
        stride: S per axis, at most K; 1 if None.
        causal: whether later tokens are hidden, per axis; nowhere if None.
        bias: b, one value per head and relative position in steps of d, (H, 2K - 1 per axis), offset 0 amid.
        mask: valid tokens, (B, *grid) of bool; the others are given no weight, whatever keys and values they have. A
            token with no valid neighbour gets 0.
        scale: s; D ** -0.5 if None.
        backend: "reference" is dense, of memory (B, H, T, T) for T tokens; "cpu" attends tile by tile in memory
            proportional to T * prod(K), and works on any device; "native" goes query by query and, as "triton", keeps
            no weights; the latter adds the gradient of the bias in no fixed order.

    Returns:
        (B, *grid, H, Dv) in the dtype of `v`, computed in float32 at least; "triton" multiplies half precision as it
        comes and sums in float32.

    Raises:
        ShapeError: shapes do not fit each other, or the grid is not of rank 1 to 3.
        ValueError: kernel size, dilation, stride or causal do not fit the grid or each other, or the backend does not
            exist, or cannot run here.

    Source: Hassani et al., Neighborhood Attention Transformer, arXiv 2204.07143; dilated, Hassani and Shi,
    arXiv 2209.15001; strides, Hassani et al., Generalized Neighborhood Attention, arXiv 2504.16922.
    """
    windows = _windows(q.ndim - 3, kernel_size, dilation, stride, causal)
    _check_shapes(q, k, v, windows, bias, mask)
    narrow = v.dtype
    dtype = torch.promote_types(q.dtype, v.dtype)
    form = choose(backend, q.device, dtype, native=native.LIBRARY, triton=_TRITON_DTYPES)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast(q.device.type, enabled=False):
        if form != "triton":  # which loads no key that the mask leaves out
            dtype = torch.promote_types(dtype, torch.float32)
            k, v = (_blank(x, mask) for x in (k, v))
            bias = None if bias is None else bias.to(dtype)
        if form in ("native", "triton"):
            out, _ = _forward(q.to(dtype), k.to(dtype), v.to(dtype), bias, mask, *_lists(windows), factor, form)
        else:
            inputs = (q.to(dtype) * factor, k.to(dtype), v.to(dtype), windows, bias, mask)
            out = reference.dense(*inputs) if form == "reference" else cpu.tiled(*inputs)
    return out.to(narrow)


def _windows(
    rank: int,
    kernel_size: tuple[int, ...],
    dilation: tuple[int, ...] | None,
    stride: tuple[int, ...] | None,
    causal: tuple[bool, ...] | None,
) -> tuple[Window, ...]:
    if not 1 <= rank <= 3:
        raise ShapeError(f"expected q of shape (B, *grid, H, D), the grid of rank 1 to 3; got {rank + 3} dimensions")
    dilation = (1,) * rank if dilation is None else dilation
    stride = (1,) * rank if stride is None else stride
    causal = (False,) * rank if causal is None else causal
    for name, value in (("kernel_size", kernel_size), ("dilation", dilation), ("stride", stride)):
        if len(value) != rank or min(value) < 1:
            raise ValueError(f"expected {name} of {rank} numbers >= 1, one per axis; got {value}")
    if len(causal) != rank:
        raise ValueError(f"expected causal of {rank} truth values, one per axis; got {causal}")
    if any(step > size for step, size in zip(stride, kernel_size, strict=True)):
        raise ValueError(f"expected a stride of at most the kernel size {kernel_size}; got {stride}")
    return tuple(Window(*axis) for axis in zip(kernel_size, dilation, stride, causal, strict=True))


def _check_shapes(
    q: Tensor, k: Tensor, v: Tensor, windows: tuple[Window, ...], bias: Tensor | None, mask: Tensor | None
) -> None:
    if q.numel() == 0:
        raise ShapeError(f"expected q of shape (B, *grid, H, D) with no empty dimension; got {tuple(q.shape)}")
    check_shape("k", k, tuple(q.shape))
    check_shape("v", v, (*q.shape[:-1], v.shape[-1]))
    check_shape("bias", bias, (q.shape[-2], *(2 * window.size - 1 for window in windows)))
    check_shape("mask", mask, tuple(q.shape[:-2]))


def _blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """Put zeros where the mask says that there is nothing: no weight at all is still NaN times NaN."""
    return x if mask is None else x.masked_fill(~mask[..., None, None], 0.0)


def _lists(windows: tuple[Window, ...]) -> tuple[list[int], list[int], list[int], list[bool]]:
    """Take windows apart, as custom ops know no classes."""
    sizes, dilations, strides = ([getattr(w, name) for w in windows] for name in ("size", "dilation", "stride"))
    return sizes, dilations, strides, [window.causal for window in windows]


@torch.library.custom_op("omniform::neighborhood_attention", mutates_args=())
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    kernel_size: list[int],
    dilation: list[int],
    stride: list[int],
    causal: list[bool],
    scale: float,
    form: str,
) -> tuple[Tensor, Tensor]:
    windows = tuple(map(Window, kernel_size, dilation, stride, causal))
    return form_module(__name__, form).forward(q, k, v, bias, mask, windows, scale)


@_forward.register_fake
def _(q, k, v, bias, mask, kernel_size, dilation, stride, causal, scale, form):
    B, *grid, H, _ = q.shape
    return v.new_empty(v.shape), q.new_empty(B, H, prod(grid), dtype=torch.float32)


@torch.library.custom_op("omniform::neighborhood_attention_backward", mutates_args=())
def _backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    out: Tensor,
    lse: Tensor,
    kernel_size: list[int],
    dilation: list[int],
    stride: list[int],
    causal: list[bool],
    scale: float,
    form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    windows = tuple(map(Window, kernel_size, dilation, stride, causal))
    return form_module(__name__, form).backward(dout, q, k, v, bias, mask, out, lse, windows, scale)


@_backward.register_fake
def _(dout, q, k, v, bias, mask, out, lse, kernel_size, dilation, stride, causal, scale, form):
    grads = (x.new_empty(x.shape) for x in (q, k, v))
    return *grads, q.new_empty(0 if bias is None else bias.shape, dtype=torch.float32)


def _keep(ctx, inputs, output):
    q, k, v, bias, mask, *ctx.options = inputs
    ctx.save_for_backward(q, k, v, bias, mask, *output)
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx, dout, _):
    dq, dk, dv, dbias = _backward(dout, *ctx.saved_tensors, *ctx.options)
    bias = ctx.saved_tensors[3]
    return dq, dk, dv, None if bias is None else dbias.to(bias.dtype), *[None] * 7


_forward.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.omniform.neighborhood_attention)
def _forward_flops(q_shape, k_shape, v_shape, bias_shape, mask_shape, *options, out_shape=None, **__) -> int:
    """Count the logits and the weighted sums of all pairs of neighbours."""
    return 2 * _count_pairs(q_shape, *options[:4]) * (q_shape[-1] + v_shape[-1])


@register_flop_formula(torch.ops.omniform.neighborhood_attention_backward)
def _backward_flops(
    dout_shape, q_shape, k_shape, v_shape, bias_shape, mask_shape, seen_shape, lse_shape, *options, out_shape=None, **__
) -> int:
    """Count five products: the logits once more, and the gradients of weights, values, queries and keys."""
    return 2 * _count_pairs(q_shape, *options[:4]) * (3 * q_shape[-1] + 2 * v_shape[-1])


def _count_pairs(shape, kernel_size, dilation, stride, causal) -> int:
    B, *grid, H, _ = shape
    windows = map(Window, kernel_size, dilation, stride, causal)
    return B * H * prod(sum(len(w.seen(i, n)) for i in range(n)) for n, w in zip(grid, windows, strict=True))
