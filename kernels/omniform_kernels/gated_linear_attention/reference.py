"""The definition of gated linear attention: one step of the recurrence after another."""

import torch
from torch import Tensor

__all__ = ["recurrent"]


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, offsets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run the recurrence token by token with scaled queries; `log_decay` is (B, L, H, 1) or (B, L, H, Dk)."""
    if offsets is not None:
        return _one_by_one(q, k, v, log_decay, state, offsets)
    outs = []
    steps = (tensor.unbind(1) for tensor in (q, k, v, log_decay))
    for q_t, k_t, v_t, g_t in zip(*steps, strict=True):  # (B, H, .)
        state = g_t.exp().unsqueeze(-1) * state + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)  # (B, H, Dk, Dv)
        outs.append((q_t.unsqueeze(-2) @ state).squeeze(-2))  # (B, H, Dv)
    return torch.stack(outs, dim=1) if outs else v, state


def _one_by_one(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Run packed sequences, B = 1, each on its own."""
    lengths = offsets.diff().tolist()
    sequences = zip(*(tensor.split(lengths, 1) for tensor in (q, k, v, log_decay)), state.split(1), strict=True)
    outs, finals = zip(*(recurrent(*sequence) for sequence in sequences), strict=True)
    return torch.cat(outs, 1), torch.cat(finals)
