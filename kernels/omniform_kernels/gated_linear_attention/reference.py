"""The definition of gated linear attention: one step of the recurrence after another."""

import torch
from torch import Tensor

__all__ = ["recurrent"]


def recurrent(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run the recurrence token by token; `log_decay` is (B, L, H, 1) or (B, L, H, Dk)."""
    outs = []
    steps = (tensor.unbind(1) for tensor in (q, k, v, log_decay))
    for q_t, k_t, v_t, g_t in zip(*steps, strict=True):  # (B, H, .)
        state = g_t.exp().unsqueeze(-1) * state + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)  # (B, H, Dk, Dv)
        outs.append((q_t.unsqueeze(-2) @ state).squeeze(-2))  # (B, H, Dv)
    return torch.stack(outs, dim=1), state
