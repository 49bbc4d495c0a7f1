"""The definition of the delta rule: one step of the recurrence after another."""

import torch
from torch import Tensor

__all__ = ["packed", "recurrent"]


def recurrent(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run the recurrence token by token with scaled queries q; `beta` and `log_decay` are (B, L, H)."""
    outs = [v[:, :0]]
    for t in range(q.shape[1]):
        q_t, k_t, v_t = (tensor[:, t].unsqueeze(-2) for tensor in (q, k, v))  # (B, H, 1, D)
        beta_t, g_t = (tensor[:, t, :, None, None] for tensor in (beta, log_decay))
        state = g_t.exp() * state  # (B, H, Dk, Dv)
        state = state + k_t.mT @ (beta_t * (v_t - k_t @ state))
        outs.append((q_t @ state).transpose(1, 2))  # (B, 1, H, Dv)
    return torch.cat(outs, dim=1), state


def packed(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Run it over each of the sequences that lie behind each other in B = 1."""
    bounds = offsets.tolist()
    outs, states = [], []
    for start, stop, before in zip(bounds, bounds[1:], state.split(1), strict=False):
        pieces = (tensor[:, start:stop] for tensor in (q, k, v, beta, log_decay))
        out, after = recurrent(*pieces, state=before)
        outs.append(out)
        states.append(after)
    return torch.cat(outs, dim=1), torch.cat(states)
