"""The public face of gated linear attention: checks, dtypes, directions, and which form runs."""

from typing import Literal, overload

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from omniform_kernels.backends import Backend, cast, choose, form_module, is_recorded
from omniform_kernels.checks import ShapeError, check_shape, sequence_offsets
from omniform_kernels.gated_linear_attention import cpu, native, reference

__all__ = ["gated_linear_attention"]

_TRITON_DTYPES = (torch.float32,)  # and narrower ones, which count as float32


@overload
def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    causal: Literal[True] = True,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]: ...


@overload
def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    scale: float | None = None,
    initial_state: None = None,
    cu_seqlens: Tensor | None = None,
    causal: Literal[False],
    backend: Backend = "auto",
) -> tuple[Tensor, None]: ...


def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    causal: bool = True,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor | None]:
    r"""Attend through a matrix state that decays.

    .. math::
        S_t = \operatorname{diag}(e^{g_t})\, S_{t-1} + k_t^\top v_t, \qquad o_t = s\, q_t S_t

    Without causality a second state comes from the other end, in which each token's decay again applies to what was
    there before it, and a token counts itself once:

    .. math::
        R_t = \operatorname{diag}(e^{g_t})\, R_{t+1} + k_t^\top v_t, \qquad o_t = s\, q_t (S_t + R_t - k_t^\top v_t)

    with S_0 = 0 and R_{L+1} = 0. A padded token is one with k = 0 and g = 0: it leaves the states alone.

    Args:
        q, k: queries and keys, (B, L, H, Dk); L may be 0.
        v: values, (B, L, H, Dv).
        log_decay: g <= 0; (B, L, H) for one decay per head (retention, Mamba-2), (B, L, H, Dk) for one per key
            channel (gated linear attention), None for no decay (plain linear attention).
        scale: s; Dk ** -0.5 if None.
        initial_state: S_0, (B, H, Dk, Dv); zeros if None. Only for causal attention.
        cu_seqlens: S sequences packed behind each other, B = 1: sequence i holds the tokens from `cu_seqlens[i]` up to
            `cu_seqlens[i + 1]`, (S + 1,), int64, from 0 to L; it may hold none. States are then (S, H, Dk, Dv).
        causal: whether tokens see only themselves and what came before.
        backend: "reference" steps through time and is twice differentiable; "cpu" works on chunks, on any device;
            "native" steps through time in C++; "triton" works on chunks, in the dtype of q, k and v.

    Returns:
        The outputs (B, L, H, Dv) in the dtype of `v`, and S_L (B, H, Dk, Dv) in float32, or float64 if an input is;
        None for S_L without causality. Sums are formed in the dtype of the state, under autocast too.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: there is a state without causality; the sequences do not fill the tokens; or the backend does not
            exist, or cannot run here.

    Source: Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, arXiv 2312.06635.
    """
    offsets = _check(q, k, v, log_decay, initial_state, cu_seqlens, causal)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    if log_decay is None:
        log_decay = q.new_zeros(q.shape[:3])
    if log_decay.ndim == 3:
        log_decay = log_decay.unsqueeze(-1)  # (B, L, H, 1)
    if causal:
        return _attend(q, k, v, log_decay, initial_state, offsets, factor, backend)
    back = None if offsets is None else q.shape[1] - offsets.flip(0)
    ahead, _ = _attend(q, k, v, log_decay, None, offsets, factor, backend)
    behind, _ = _attend(q.flip(1), k.flip(1), v.flip(1), log_decay.flip(1), None, back, factor, backend)
    dtype = torch.promote_types(torch.promote_types(q.dtype, v.dtype), torch.float32)
    own = factor * (q.to(dtype) * k.to(dtype)).sum(-1, keepdim=True) * v.to(dtype)
    return (ahead.to(dtype) + behind.flip(1).to(dtype) - own).to(v.dtype), None


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    state: Tensor | None,
    offsets: Tensor | None,
    scale: float,
    backend: Backend,
) -> tuple[Tensor, Tensor]:
    narrow = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    dtype = torch.promote_types(narrow, torch.float32)
    form = choose(backend, q.device, dtype, native=native.LIBRARY, triton=_TRITON_DTYPES)
    if state is None:
        B = q.shape[0] if offsets is None else offsets.shape[0] - 1
        state = q.new_zeros(B, q.shape[2], q.shape[3], v.shape[3], dtype=dtype)
    if q.shape[1] == 0:
        return v.clone(), state.to(dtype, copy=True)
    inside = narrow if form == "triton" else dtype
    q, k, values = cast(q, inside), cast(k, inside), cast(v, inside)
    log_decay, state = cast(log_decay, dtype), cast(state, dtype)
    if form in ("native", "triton"):
        out, final = _run(form, q, k, values, log_decay, state, offsets, scale)
    else:
        with torch.autocast(q.device.type, enabled=False):
            step = form == "reference" or (backend == "auto" and q.shape[1] == 1 and offsets is None)
            attend = reference.recurrent if step else cpu.chunked
            out, final = attend(q * scale, k, values, log_decay, state, offsets)
    return cast(out, v.dtype), final


def _run(
    form: str, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, offsets: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Run a form that has a backward pass of its own; straight where no one will ask for it, for a decoder's sake."""
    inputs = (q.contiguous(), k.contiguous(), v.contiguous(), log_decay.contiguous(), state.contiguous())
    if is_recorded(*inputs):
        return _forward(*inputs, offsets, scale, form)
    return form_module(__name__, form).forward(*inputs, offsets, scale)


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    causal: bool,
) -> Tensor | None:
    """Refuse what does not fit; return the offsets of packed sequences."""
    if q.ndim != 4:
        raise ShapeError(f"expected q of shape (B, L, H, Dk); got {tuple(q.shape)}")
    B, L, H, Dk = q.shape
    check_shape("k", k, (B, L, H, Dk))
    check_shape("v", v, (B, L, H, v.shape[-1]))
    check_shape("log_decay", log_decay, (B, L, H), (B, L, H, Dk))
    if initial_state is not None and not causal:
        raise ValueError("expected no initial_state without causality, which has two ends; got one")
    offsets = None if cu_seqlens is None else sequence_offsets(cu_seqlens, L, B)
    S = B if offsets is None else offsets.shape[0] - 1
    check_shape("initial_state", initial_state, (S, H, Dk, v.shape[-1]))
    return offsets


@torch.library.custom_op("omniform::gated_linear_attention", mutates_args=())
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    state: Tensor,
    offsets: Tensor | None,
    scale: float,
    form: str,
) -> tuple[Tensor, Tensor]:
    return form_module(__name__, form).forward(q, k, v, log_decay, state, offsets, scale)


@_forward.register_fake
def _(q, k, v, log_decay, state, offsets, scale, form):
    return torch.empty_like(v), torch.empty_like(state)


@torch.library.custom_op("omniform::gated_linear_attention_backward", mutates_args=())
def _backward(
    dout: Tensor,
    dfinal: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    state: Tensor,
    offsets: Tensor | None,
    scale: float,
    form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return form_module(__name__, form).backward(dout, dfinal, q, k, v, log_decay, state, offsets, scale)


@_backward.register_fake
def _(dout, dfinal, q, k, v, log_decay, state, offsets, scale, form):
    return tuple(torch.empty_like(tensor) for tensor in (q, k, v, log_decay, state))


def _keep(ctx, inputs, output):
    *tensors, ctx.scale, ctx.form = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dout, dfinal):
    gradients = _backward(dout.contiguous(), dfinal.contiguous(), *ctx.saved_tensors, ctx.scale, ctx.form)
    return *gradients, None, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.omniform.gated_linear_attention)
def _forward_flops(q_shape, k_shape, v_shape, *_, out_shape=None, **__) -> int:
    """Count 5 operations per token and entry of the state: decay 1, write 2, read 2."""
    B, L, H, Dk = q_shape
    return 5 * B * L * H * Dk * v_shape[-1]


@register_flop_formula(torch.ops.omniform.gated_linear_attention_backward)
def _backward_flops(dout_shape, dfinal_shape, q_shape, *_, out_shape=None, **__) -> int:
    """Count three sweeps of that kind: for the gradients of queries, keys and values."""
    return 3 * _forward_flops(q_shape, None, dout_shape)
