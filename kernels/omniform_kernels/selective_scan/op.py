"""The public face of the selective scan: checks, dtypes, and which form runs."""

from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from omniform_kernels.backends import Backend, choose, form_module, is_recorded
from omniform_kernels.checks import ShapeError, check_shape, sequence_offsets
from omniform_kernels.selective_scan import cpu, native, reference
from omniform_kernels.selective_scan.chunks import num_slots

__all__ = ["selective_scan"]


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    gate: Tensor | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    reverse: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Scan a sequence with a diagonal state space whose step, input and output maps depend on the token.

    .. math::
        h_t = e^{\Delta_t A} \odot h_{t-1} + \Delta_t x_t B_t^\top, \qquad
        y_t = (h_t C_t + D \odot x_t) \odot \operatorname{SiLU}(z_t)

    A padded token is one with dt = 0: it leaves the state alone.

    Args:
        x: the sequence, (Bt, L, Di).
        dt: step sizes, >= 0 (after the softplus), (Bt, L, Di).
        A: rates, < 0, (Di, N).
        B, C: input and output maps, (Bt, L, N).
        D: weight of the skip, (Di,); none if None.
        gate: z, (Bt, L, Di); no gating if None.
        initial_state: h_0, (S, Di, N), with S = Bt unless packed; zeros if None.
        cu_seqlens: for S sequences packed one behind the other (Bt = 1): where each begins, and the end of the last,
            0 = c_0 <= ... <= c_S = L, (S + 1,) int64, on the device of `x`.
        reverse: scan from the last token of each sequence to its first, as between two flips along L, without copies.
        backend: "reference" is plain autograd and twice differentiable; "cpu" is plain torch on any device, "native"
            the same in C++, "triton" for GPUs: these keep only the states between chunks of steps and compute the rest
            again in the backward pass, so that memory is linear in L and holds no state of each token.

    Returns:
        The outputs (Bt, L, Di) in the dtype of `x`, and the state of each sequence behind its last token (S, Di, N), in
        float32, or float64 if an input is. Everything inside is computed in that dtype, under autocast too.

    Raises:
        ShapeError: shapes do not fit each other, or L = 0.
        ValueError: packed sequences do not fill the tokens; or the backend does not exist, or cannot run here.

    Source: Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, arXiv 2312.00752.
    """
    S = _check_shapes(x, dt, A, B, C, D, gate, initial_state, cu_seqlens)
    dtype = torch.promote_types(torch.promote_types(x.dtype, A.dtype), torch.float32)
    form = choose(backend, x.device, dtype, native=native.LIBRARY, triton=(torch.float32,))
    state = x.new_zeros(S, *A.shape, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    A, D = A.to(dtype), None if D is None else D.to(dtype)
    if form == "triton":  # widens what it reads, so that narrow tensors are what is kept for the backward pass
        return _forward(x, dt, A, B, C, D, gate, state, cu_seqlens, reverse, form)[:2]
    inputs = (x.to(dtype), dt.to(dtype), A, B.to(dtype), C.to(dtype), D, None if gate is None else gate.to(dtype))
    with torch.autocast(x.device.type, enabled=False):
        if form == "reference":
            y, final = reference.recurrent(*inputs, state, cu_seqlens, reverse)
        elif torch.compiler.is_exporting():  # an exported graph holds torch's own operators
            y, final, _ = cpu.forward(*inputs, state, cu_seqlens, reverse)
        elif form == "native" and cu_seqlens is None and _is_plain_step(*inputs, state):
            y, final = native.step(*inputs, state)
        else:
            y, final, _ = _forward(*inputs, state, cu_seqlens, reverse, form)
    return y.to(x.dtype), final


def _is_plain_step(x: Tensor, *others: Tensor | None) -> bool:
    """Whether this is one token outside of any graph: decoding, where the way through a custom op costs as much."""
    return x.shape[1] == 1 and not is_recorded(x, *others)


def _check_shapes(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, gate: Tensor | None,
    initial_state: Tensor | None, cu_seqlens: Tensor | None,
) -> int:  # fmt: skip
    """Refuse shapes that do not fit each other; return the number of sequences."""
    if x.ndim != 3 or x.shape[1] == 0:
        raise ShapeError(f"expected x of shape (Bt, L, Di) with L >= 1; got {tuple(x.shape)}")
    Bt, L, Di = x.shape
    N = A.shape[-1]
    check_shape("dt", dt, (Bt, L, Di))
    check_shape("A", A, (Di, N))
    check_shape("B", B, (Bt, L, N))
    check_shape("C", C, (Bt, L, N))
    check_shape("D", D, (Di,))
    check_shape("gate", gate, (Bt, L, Di))
    S = Bt if cu_seqlens is None else len(sequence_offsets(cu_seqlens, L, Bt)) - 1
    check_shape("initial_state", initial_state, (S, Di, N))
    return S


@torch.library.custom_op("omniform::selective_scan", mutates_args=())
def _forward(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    gate: Tensor | None,
    state: Tensor,
    cu_seqlens: Tensor | None,
    reverse: bool,
    form: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return form_module(__name__, form).forward(x, dt, A, B, C, D, gate, state, cu_seqlens, reverse)


@_forward.register_fake
def _(x, dt, A, B, C, D, gate, state, cu_seqlens, reverse, form):
    Di, N = A.shape
    slots = num_slots(x, cu_seqlens, form_module(__name__, form).CHUNK)
    starts = state.new_empty(slots, Di, N) if form == "cpu" else state.new_empty(slots, N, Di)
    return x.new_empty(x.shape), state.new_empty(state.shape), starts


@torch.library.custom_op("omniform::selective_scan_backward", mutates_args=())
def _backward(
    dy: Tensor,
    dfinal: Tensor,
    starts: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    gate: Tensor | None,
    cu_seqlens: Tensor | None,
    reverse: bool,
    form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return form_module(__name__, form).backward(dy, dfinal, starts, x, dt, A, B, C, D, gate, cu_seqlens, reverse)


@_backward.register_fake
def _(dy, dfinal, starts, x, dt, A, B, C, D, gate, cu_seqlens, reverse, form):
    given = (x, dt, A, B, C, A.new_empty(0) if D is None else D, x.new_empty(0) if gate is None else gate, dfinal)
    return tuple(tensor.new_empty(tensor.shape) for tensor in given)


def _keep(ctx, inputs, output):
    *tensors, _, cu_seqlens, ctx.reverse, ctx.form = inputs
    starts = output[2]
    ctx.save_for_backward(starts, *tensors, cu_seqlens)
    ctx.mark_non_differentiable(starts)


def _differentiate(ctx, dy, dfinal, _):
    *saved, cu_seqlens = ctx.saved_tensors
    has_skip, has_gate = saved[6] is not None, saved[7] is not None
    *grads, dD, dgate, dstate = _backward(dy, dfinal, *saved, cu_seqlens, ctx.reverse, ctx.form)
    return *grads, dD if has_skip else None, dgate if has_gate else None, dstate, None, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.omniform.selective_scan)
def _forward_flops(x_shape, dt_shape, A_shape, *_, out_shape=None, **__) -> int:
    """Count 6 operations per token and entry of the state: exponent 1, decay 1, write 2, read 2."""
    return 6 * prod(x_shape) * A_shape[1]


@register_flop_formula(torch.ops.omniform.selective_scan_backward)
def _backward_flops(dy_shape, dfinal_shape, starts_shape, x_shape, dt_shape, A_shape, *_, out_shape=None, **__) -> int:
    """Count three sweeps of that kind: the states again, and the gradients of inputs and of parameters."""
    return 3 * _forward_flops(x_shape, dt_shape, A_shape)
