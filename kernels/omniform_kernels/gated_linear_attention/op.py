"""The public face of gated linear attention: checks, dtypes, and which form runs."""

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.gated_linear_attention import cpu, reference

__all__ = ["gated_linear_attention"]


def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Attend causally through a matrix state that decays.

    .. math::
        S_t = \operatorname{diag}(e^{g_t})\, S_{t-1} + k_t^\top v_t, \qquad o_t = s\, q_t S_t

    A padded token is one with k = 0 and g = 0: it leaves the state alone.

    Args:
        q, k: queries and keys, (B, L, H, Dk).
        v: values, (B, L, H, Dv).
        log_decay: g <= 0; (B, L, H) for one decay per head (retention, Mamba-2), (B, L, H, Dk) for one per key
            channel (gated linear attention), None for no decay (plain linear attention).
        scale: s; Dk ** -0.5 if None.
        initial_state: S_0, (B, H, Dk, Dv); zeros if None.
        backend: "reference" steps through time; "cpu" works on chunks and on any device; "auto" takes the former for a
            single token, else the latter.

    Returns:
        The outputs (B, L, H, Dv) in the dtype of `v`, and S_L (B, H, Dk, Dv) in float32, or float64 if an input is.
        Everything inside is computed in the dtype of the state, under autocast too.

    Raises:
        ShapeError: shapes do not fit each other, or L = 0.
        ValueError: the backend does not exist.

    Source: Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, arXiv 2312.06635.
    """
    _check_shapes(q, k, v, log_decay, initial_state)
    dtype = torch.promote_types(torch.promote_types(q.dtype, v.dtype), torch.float32)
    form = choose(backend, q.device, dtype)
    B, L, H, Dk = q.shape
    if log_decay is None:
        log_decay = q.new_zeros(B, L, H)
    if log_decay.ndim == 3:
        log_decay = log_decay.unsqueeze(-1)  # (B, L, H, 1)
    if initial_state is None:
        initial_state = q.new_zeros(B, H, Dk, v.shape[-1], dtype=dtype)
    factor = Dk**-0.5 if scale is None else scale
    with torch.autocast(q.device.type, enabled=False):
        inputs = (q.to(dtype) * factor, k.to(dtype), v.to(dtype), log_decay.to(dtype), initial_state.to(dtype))
        if form == "reference" or (backend == "auto" and L == 1):
            out, state = reference.recurrent(*inputs)
        else:
            out, state = cpu.chunked(*inputs)
    return out.to(v.dtype), state


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None, initial_state: Tensor | None) -> None:
    if q.ndim != 4 or q.shape[1] == 0:
        raise ShapeError(f"expected q of shape (B, L, H, Dk) with L >= 1; got {tuple(q.shape)}")
    B, L, H, Dk = q.shape
    check_shape("k", k, (B, L, H, Dk))
    check_shape("v", v, (B, L, H, v.shape[-1]))
    check_shape("log_decay", log_decay, (B, L, H), (B, L, H, Dk))
    check_shape("initial_state", initial_state, (B, H, Dk, v.shape[-1]))
