"""The public face of the short convolution: checks, the carried inputs, and which form runs."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from omniform_kernels.backends import Backend, choose, form_module, is_recorded
from omniform_kernels.checks import ShapeError, check_shape, sequence_offsets
from omniform_kernels.short_convolution import cpu, native, reference

__all__ = ["short_convolution"]

_TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def short_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    cu_seqlens: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Convolve each channel with a short causal filter, and carry what the next chunk needs.

    .. math::
        y_t = \phi\Big(b + \sum_{j=0}^{K-1} w_j \odot x_{t-K+1+j}\Big)

    The last weight meets the newest input. Any partition of a sequence into calls that pass the state on gives what
    one call gives.

    Args:
        x: the sequence, (B, L, C); L may be 0.
        weight: the filters, (C, K).
        bias: b, (C,).
        initial_state: the K - 1 inputs before x, (B, K - 1, C); zeros if None.
        activation: phi; the identity if None.
        cu_seqlens: S sequences packed behind each other, B = 1: sequence i holds the tokens from `cu_seqlens[i]` up to
            `cu_seqlens[i + 1]`, (S + 1,), int64, from 0 to L; it may hold none. States are then (S, K - 1, C).
        backend: "reference" stores every window and is twice differentiable, as is "cpu", which does not, on any
            device; "native" and "triton" read the inputs once, and compute outputs again in the backward pass.

    Returns:
        The outputs (B, L, C), and the last K - 1 inputs (B, K - 1, C), both in the dtype of `x`. Sums are formed in
        float32 at least.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: there is no such activation; the sequences do not fill the tokens; or the backend does not exist,
            or cannot run here.
    """
    if activation not in (None, "silu"):
        raise ValueError(f'expected activation "silu" or None; got {activation!r}')
    offsets = _check(x, weight, bias, initial_state, cu_seqlens)
    state = None if initial_state is None else initial_state.to(x.dtype)
    final = _carry(x, state, offsets, weight.shape[1])
    form = choose(backend, x.device, x.dtype, native=native.LIBRARY, triton=_TRITON_DTYPES)
    if x.shape[1] == 0:
        return x.clone(), final
    silu = activation == "silu"
    if form == "triton":
        return _run(form, x, weight, bias, state, offsets, silu), final
    dtype = torch.promote_types(x.dtype, torch.float32)
    wide, weight = x.to(dtype), weight.to(dtype)
    bias, state = (None if other is None else other.to(dtype) for other in (bias, state))
    if form == "native":
        return _run(form, wide, weight, bias, state, offsets, silu), final
    if state is None:
        state = _zeros(wide, offsets, weight.shape[1])
    y = (reference if form == "reference" else cpu).convolve(wide, weight, state, offsets)
    y = y if bias is None else y + bias
    return (F.silu(y) if silu else y).to(x.dtype), final


def _run(
    form: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor | None,
    offsets: Tensor | None,
    silu: bool,
) -> Tensor:
    """Run a form that has a backward pass of its own; straight where no one will ask for it, for a decoder's sake."""
    bias, state = (None if other is None else other.contiguous() for other in (bias, state))
    inputs = (x.contiguous(), weight, bias, state)
    if is_recorded(*inputs):
        return _forward(*inputs, offsets, silu, form)
    return form_module(__name__, form).forward(*inputs, offsets, silu)


def _carry(x: Tensor, state: Tensor | None, offsets: Tensor | None, K: int) -> Tensor:
    """Return the last K - 1 inputs of each sequence, those of the state included."""
    state = _zeros(x, offsets, K) if state is None else state
    L = x.shape[1]
    if offsets is None:
        tail = x[:, max(L - K + 1, 0) :]
        return torch.cat([state, tail], dim=1)[:, tail.shape[1] :]
    if L == 0:
        return state
    slot = torch.arange(K - 1, device=x.device)
    row = offsets.diff()[:, None] + slot  # (S, K - 1), of the state and the inputs behind it
    old = state.gather(1, row.clamp(max=max(K - 2, 0))[..., None].expand_as(state))
    new = x[0, (offsets[1:, None] + slot - (K - 1)).clamp(min=0)]
    return torch.where((row < K - 1)[..., None], old, new)


def _zeros(x: Tensor, offsets: Tensor | None, K: int) -> Tensor:
    return x.new_zeros(x.shape[0] if offsets is None else offsets.shape[0] - 1, K - 1, x.shape[2])


def _check(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial_state: Tensor | None, cu_seqlens: Tensor | None
) -> Tensor | None:
    """Refuse what does not fit; return the offsets of packed sequences."""
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[1] == 0:
        raise ShapeError(f"expected x (B, L, C) and weight (C, K >= 1); got {tuple(x.shape)}, {tuple(weight.shape)}")
    B, L, C = x.shape
    K = weight.shape[1]
    offsets = None if cu_seqlens is None else sequence_offsets(cu_seqlens, L, B)
    S = B if offsets is None else offsets.shape[0] - 1
    check_shape("weight", weight, (C, K))
    check_shape("bias", bias, (C,))
    check_shape("initial_state", initial_state, (S, K - 1, C))
    return offsets


@torch.library.custom_op("omniform::short_convolution", mutates_args=())
def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor | None,
    offsets: Tensor | None,
    silu: bool,
    form: str,
) -> Tensor:
    return form_module(__name__, form).forward(x, weight, bias, state, offsets, silu)


@_forward.register_fake
def _(x, weight, bias, state, offsets, silu, form):
    return torch.empty_like(x)


@torch.library.custom_op("omniform::short_convolution_backward", mutates_args=())
def _backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor | None,
    offsets: Tensor | None,
    silu: bool,
    form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return form_module(__name__, form).backward(dy, x, weight, bias, state, offsets, silu)


@_backward.register_fake
def _(dy, x, weight, bias, state, offsets, silu, form):
    dbias, dstate = (x.new_empty(0) if other is None else torch.empty_like(other) for other in (bias, state))
    return torch.empty_like(x), weight.new_empty(weight.shape), dbias, dstate


def _keep(ctx, inputs, output):
    *tensors, ctx.silu, ctx.form = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dy):
    _, _, bias, state, _ = ctx.saved_tensors
    dx, dweight, dbias, dstate = _backward(dy.contiguous(), *ctx.saved_tensors, ctx.silu, ctx.form)
    return dx, dweight, None if bias is None else dbias, None if state is None else dstate, None, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.omniform.short_convolution)
def _forward_flops(x_shape, weight_shape, *_, out_shape=None, **__) -> int:
    """Count a multiply-add for each input and tap."""
    B, L, C = x_shape
    return 2 * B * L * C * weight_shape[1]


@register_flop_formula(torch.ops.omniform.short_convolution_backward)
def _backward_flops(dy_shape, x_shape, weight_shape, *_, out_shape=None, **__) -> int:
    """Count the gradients of inputs and weights."""
    return 2 * _forward_flops(x_shape, weight_shape)
