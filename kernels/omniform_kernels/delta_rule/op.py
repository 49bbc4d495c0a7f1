"""The public face of the delta rule: checks, dtypes, and which form runs."""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from omniform_kernels.backends import Backend, cast, choose, form_module
from omniform_kernels.checks import ShapeError, check_shape, sequence_offsets
from omniform_kernels.delta_rule import cpu, native, reference

__all__ = ["delta_rule"]


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Attend causally through a matrix state that decays, and whose answer to each key is corrected towards its value.

    .. math::
        S_t = e^{g_t} (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top, \qquad o_t = s\, q_t S_t

    The state stays bounded for keys of length one, which the caller normalises, and beta in [0, 2]. A padded token is
    one with beta = 0 (or k = 0) and g = 0: it leaves the state alone.

    Args:
        q, k: queries and keys, (B, L, H, Dk).
        v: values, (B, L, H, Dv).
        beta: how far the answer to the key moves towards the value, (B, L, H).
        log_decay: g <= 0, (B, L, H), the gated delta rule; None for no decay.
        scale: s; Dk ** -0.5 if None.
        initial_state: S_0, (B, H, Dk, Dv), or (S, H, Dk, Dv) for S packed sequences; zeros if None.
        cu_seqlens: where packed sequences start and the last one stops, (S + 1,) integers from 0 to L, in order; B is
            1 then, and sequences may be empty. Values are checked on a CPU only.
        backend: "reference" steps through time, and is twice differentiable; "cpu" works on chunks in plain torch, on
            any device; "native" and "triton" do too, and have a faster step for a single token without gradients.

    Returns:
        The outputs (B, L, H, Dv) in the dtype of `v`, and the last states, of the shape of the initial ones, in
        float32, or float64 if an input is. Everything is computed in the dtype of the state, under autocast too;
        Triton multiplies inputs of 16 bits as they are, and sums in float32.

    Raises:
        ShapeError: shapes do not fit each other, or L = 0.
        ValueError: the backend does not exist, or cannot run here; sequences do not lie between 0 and L in order.

    Source: Yang et al., Parallelizing Linear Transformers with the Delta Rule over Sequence Length, arXiv 2406.06484;
    Yang et al., Gated Delta Networks: Improving Mamba2 with Delta Rule, arXiv 2412.06464.
    """
    _check_shapes(q, k, v, beta, log_decay, initial_state, cu_seqlens)
    given = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    dtype = torch.promote_types(given, torch.float32)
    form = choose(backend, q.device, dtype, native=native.LIBRARY, triton=(torch.float32,))
    B, L, H, Dk = q.shape
    inner = given if form == "triton" else dtype
    inputs = [cast(x, inner) for x in (q, k, v)]
    gates = (beta, q.new_zeros(B, L, H, dtype=dtype) if log_decay is None else log_decay)
    inputs.extend(cast(x, dtype) for x in gates)
    if initial_state is None:
        S = B if cu_seqlens is None else len(cu_seqlens) - 1
        initial_state = q.new_zeros(S, H, Dk, v.shape[-1], dtype=dtype)
    inputs.append(cast(initial_state, dtype))
    out, state = _run(form, inputs, Dk**-0.5 if scale is None else scale, cu_seqlens)
    return cast(out, v.dtype), state


def _run(form: str, inputs: list[Tensor], scale: float, cu_seqlens: Tensor | None) -> tuple[Tensor, Tensor]:
    q, *others = inputs
    alone = q.shape[1] == 1 and cu_seqlens is None
    if form == "reference" or (form == "cpu" and alone):
        with torch.autocast(q.device.type, enabled=False):
            if cu_seqlens is None:
                return reference.recurrent(q * scale, *others)
            return reference.packed(q * scale, *others, offsets=sequence_offsets(cu_seqlens, q.shape[1]))
    if torch.compiler.is_exporting():
        return cpu.forward(*inputs, scale=scale, offsets=cu_seqlens)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    if alone and not keep:
        inputs = [tensor.contiguous() for tensor in inputs]
        if torch.compiler.is_compiling():
            return _step(*inputs, scale, form)
        return form_module(__name__, form).step(*inputs, scale)
    out, state, _ = _forward(*inputs, scale, cu_seqlens, form, keep)
    return out, state


@torch.library.custom_op("omniform::delta_rule", mutates_args=())
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor,
    scale: float,
    cu_seqlens: Tensor | None,
    form: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs, the last state, and what the form keeps for its backward pass."""
    inputs = [tensor.contiguous() for tensor in (q, k, v, beta, log_decay, state)]
    offsets = None if cu_seqlens is None else sequence_offsets(cu_seqlens, q.shape[1])
    if form == "cpu":
        with torch.autocast(q.device.type, enabled=False):
            return *cpu.forward(*inputs, scale=scale, offsets=offsets), q.new_empty(0)
    return form_module(__name__, form).forward(*inputs, scale, offsets, keep)


@_forward.register_fake
def _(q, k, v, beta, log_decay, state, scale, cu_seqlens, form, keep):
    kept = form_module(__name__, form).kept_shape(q, state) if keep and form != "cpu" else (0,)
    return v.new_empty(v.shape), state.new_empty(state.shape), state.new_empty(kept)


@torch.library.custom_op("omniform::delta_rule_backward", mutates_args=())
def _backward(
    dout: Tensor,
    dstate: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor,
    kept: Tensor,
    scale: float,
    cu_seqlens: Tensor | None,
    form: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v, beta, log_decay and state."""
    inputs = [tensor.contiguous() for tensor in (dout, dstate, q, k, v, beta, log_decay, state)]
    offsets = None if cu_seqlens is None else cu_seqlens.to(torch.int64)
    if form == "cpu":
        with torch.autocast(q.device.type, enabled=False):
            return cpu.backward(*inputs, scale=scale, offsets=offsets)
    return form_module(__name__, form).backward(*inputs, kept, scale, offsets)


@_backward.register_fake
def _(dout, dstate, q, k, v, beta, log_decay, state, kept, scale, cu_seqlens, form):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (q, k, v, beta, log_decay, state))


@torch.library.custom_op("omniform::delta_rule_step", mutates_args=())
def _step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor, scale: float, form: str
) -> tuple[Tensor, Tensor]:
    """Return the outputs and the next state for one token of each sequence; without gradients."""
    return form_module(__name__, form).step(q, k, v, beta, log_decay, state, scale)


@_step.register_fake
def _(q, k, v, beta, log_decay, state, scale, form):
    return torch.empty_like(v), torch.empty_like(state)


def _keep(ctx, inputs, output):
    *tensors, ctx.scale, cu_seqlens, ctx.form, _ = inputs
    ctx.save_for_backward(*tensors, output[2], cu_seqlens)
    ctx.mark_non_differentiable(output[2])


def _differentiate(ctx, dout, dstate, _):
    *tensors, cu_seqlens = ctx.saved_tensors
    return *_backward(dout, dstate, *tensors, ctx.scale, cu_seqlens, ctx.form), None, None, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula([torch.ops.omniform.delta_rule, torch.ops.omniform.delta_rule_step])
def _flops(q_shape, k_shape, v_shape, *args, out_shape=None, **kwargs) -> int:
    """Count 7 operations for each token and entry of the state: decay 1, correct 4, read 2."""
    B, L, H, Dk = q_shape
    return 7 * B * L * H * Dk * v_shape[-1]


@register_flop_formula(torch.ops.omniform.delta_rule_backward)
def _backward_flops(dout_shape, dstate_shape, q_shape, *args, out_shape=None, **kwargs) -> int:
    """Count the state twice more, and its gradient."""
    B, L, H, Dk = q_shape
    return 17 * B * L * H * Dk * dout_shape[-1]


def _check_shapes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
) -> None:
    if q.ndim != 4 or 0 in q.shape[1:] or v.ndim != 4 or v.shape[-1] == 0:
        got = f"{tuple(q.shape)} and {tuple(v.shape)}"
        raise ShapeError(f"expected q (B, L, H, Dk) and v (B, L, H, Dv) with L, H, Dk, Dv >= 1; got {got}")
    B, L, H, Dk = q.shape
    S = B
    check_shape("k", k, (B, L, H, Dk))
    check_shape("v", v, (B, L, H, v.shape[-1]))
    check_shape("beta", beta, (B, L, H))
    check_shape("log_decay", log_decay, (B, L, H))
    if cu_seqlens is not None:
        S = len(sequence_offsets(cu_seqlens, L, B)) - 1
    check_shape("initial_state", initial_state, (S, H, Dk, v.shape[-1]))
