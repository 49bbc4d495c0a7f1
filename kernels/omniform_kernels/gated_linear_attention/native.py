"""The recurrence in C++: float32 on a CPU, one pass forward and three for the gradients, no state kept in between."""

from pathlib import Path

import torch
from torch import Tensor

from omniform_kernels.compiler import Library

__all__ = ["LIBRARY", "backward", "forward"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))


def forward(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, offsets: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Return outputs (B, L, H, Dv) and final states; all contiguous, `log_decay` (B, L, H, 1 or Dk)."""
    out, final = torch.empty_like(v), torch.empty_like(state)
    LIBRARY.call("forward", q, k, v, log_decay, state, offsets, out, final, *_sizes(q, log_decay, state), scale)
    return out, final


def backward(
    dout: Tensor,
    dfinal: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    state: Tensor,
    offsets: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v, log_decay and state."""
    dq, dk, dv, dstate = map(torch.empty_like, (q, k, v, state))
    dg = torch.empty_like(q)
    sizes = _sizes(q, log_decay, state)
    LIBRARY.call("backward", dout * scale, dfinal, q, k, v, log_decay, state, offsets, dq, dk, dv, dg, dstate, *sizes)
    return dq, dk, dv, dg.sum(-1, keepdim=True) if log_decay.shape[-1] == 1 else dg, dstate


def _sizes(q: Tensor, log_decay: Tensor, state: Tensor) -> tuple[int, ...]:
    """Return L, T, S, H, Dk, Dv and the number of decays a head."""
    B, L, H, Dk = q.shape
    return L, B * L, state.shape[0], H, Dk, state.shape[-1], log_decay.shape[-1]
