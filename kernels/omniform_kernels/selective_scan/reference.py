"""The definition of the selective scan: one step of the recurrence after another."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.selective_scan.chunks import offsets

__all__ = ["recurrent"]


def recurrent(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, gate: Tensor | None, state: Tensor,
    cu_seqlens: Tensor | None, reverse: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Run the recurrence token by token, on each packed sequence by itself."""
    if cu_seqlens is None:
        y, final = _walk(x, dt, A, B, C, state, reverse)
    else:
        bounds = list(pairwise(offsets(x, cu_seqlens).tolist()))
        pieces = [[tensor[:, a:b] for tensor in (x, dt, B, C)] for a, b in bounds]
        walks = [_walk(u, size, A, b, c, h, reverse) for (u, size, b, c), h in zip(pieces, state.split(1), strict=True)]
        y, final = torch.cat([y for y, _ in walks], dim=1), torch.cat([h for _, h in walks])
    if D is not None:
        y = y + D * x
    return y if gate is None else y * F.silu(gate), final


def _walk(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, reverse: bool
) -> tuple[Tensor, Tensor]:
    if reverse:
        y, state = _walk(x.flip(1), dt.flip(1), A, B.flip(1), C.flip(1), state, False)
        return y.flip(1), state
    outs = []
    steps = (tensor.unbind(1) for tensor in (x, dt, B, C))
    for x_t, dt_t, B_t, C_t in zip(*steps, strict=True):  # (Bt, Di), (Bt, Di), (Bt, N), (Bt, N)
        decay = torch.exp(dt_t.unsqueeze(-1) * A)  # (Bt, Di, N)
        state = decay * state + (dt_t * x_t).unsqueeze(-1) * B_t.unsqueeze(-2)
        outs.append((state @ C_t.unsqueeze(-1)).squeeze(-1))  # (Bt, Di)
    return torch.stack(outs, dim=1) if outs else x, state
