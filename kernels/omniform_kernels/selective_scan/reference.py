"""The definition of the selective scan: one step of the recurrence after another."""

import torch
from torch import Tensor

__all__ = ["recurrent"]


def recurrent(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run the recurrence token by token, without the skip term."""
    outs = []
    steps = (tensor.unbind(1) for tensor in (x, dt, B, C))
    for x_t, dt_t, B_t, C_t in zip(*steps, strict=True):  # (Bt, Di), (Bt, Di), (Bt, N), (Bt, N)
        decay = torch.exp(dt_t.unsqueeze(-1) * A)  # (Bt, Di, N)
        state = decay * state + (dt_t * x_t).unsqueeze(-1) * B_t.unsqueeze(-2)
        outs.append((state @ C_t.unsqueeze(-1)).squeeze(-1))  # (Bt, Di)
    return torch.stack(outs, dim=1), state
