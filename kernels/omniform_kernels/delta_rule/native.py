"""The delta rule in C++, float32 on a CPU."""

from pathlib import Path

import torch
from torch import Tensor

from omniform_kernels.compiler import Library

__all__ = ["LIBRARY", "backward", "forward", "kept_shape", "step"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))

_KEPT_EVERY = 64  # tokens; GROUP * C there


def kept_shape(q: Tensor, state: Tensor) -> tuple[int, ...]:
    """Return the shape of the states that are kept for the backward pass."""
    B, L = q.shape[:2]
    return B * L // _KEPT_EVERY + state.shape[0], *state.shape[1:]


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor,
    scale: float,
    offsets: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs, the last state, and some of the states between if they are to be kept."""
    H, Dk, Dv = state.shape[1:]
    out, final = torch.empty_like(v), torch.empty_like(state)
    kept = q.new_zeros(kept_shape(q, state) if keep else 0)  # packed sequences leave places free
    offsets = _offsets(q) if offsets is None else offsets
    LIBRARY.call(
        "delta_rule_forward", q, k, v, beta, log_decay, state, offsets, out, final, kept if keep else None,
        len(state), H, Dk, Dv, scale,
    )  # fmt: skip
    return out, final, kept


def backward(
    dout: Tensor,
    dfinal: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor,
    kept: Tensor,
    scale: float,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v, beta, log_decay and state."""
    H, Dk, Dv = state.shape[1:]
    dq, dk, dv, dbeta, dlog_decay, dstate = (torch.empty_like(tensor) for tensor in (q, k, v, beta, log_decay, state))
    offsets = _offsets(q) if offsets is None else offsets
    LIBRARY.call(
        "delta_rule_backward", q, k, v, beta, log_decay, offsets, kept, dout, dfinal,
        dq, dk, dv, dbeta, dlog_decay, dstate, len(state), H, Dk, Dv, scale,
    )  # fmt: skip
    return dq, dk, dv, dbeta, dlog_decay, dstate


def step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the outputs and the next state for one token of each sequence."""
    B, H, Dk, Dv = state.shape
    out, final = torch.empty_like(v), torch.empty_like(state)
    LIBRARY.call("delta_rule_step", q, k, v, beta, log_decay, state, out, final, B * H, Dk, Dv, scale)
    return out, final


def _offsets(q: Tensor) -> Tensor:
    """Return where the sequences of a batch start and stop."""
    B, L = q.shape[:2]
    return torch.arange(B + 1) * L
