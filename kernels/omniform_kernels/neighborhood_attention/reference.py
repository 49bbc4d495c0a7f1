"""The definition of neighborhood attention: dense attention under a mask that says who is whose neighbour."""

from itertools import product

import torch
from torch import Tensor

from omniform_kernels.neighborhood_attention.window import Window

__all__ = ["dense"]


def dense(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    windows: tuple[Window, ...],
    bias: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Attend with scaled queries q (B, *grid, H, D) to every token, then forget all but the neighbours."""
    grid = q.shape[1:-2]
    queries, keys, values = (tensor.flatten(1, -3).transpose(1, 2) for tensor in (q, k, v))  # (B, H, T, D)
    logits = queries @ keys.transpose(-1, -2)  # (B, H, T, T)
    places = torch.tensor(list(product(*map(range, grid))), device=q.device)  # (T, R)
    along = [
        _allowed(n, window)[p[:, None], p] for n, window, p in zip(grid, windows, places.cpu().unbind(1), strict=True)
    ]
    allowed = torch.stack(along).all(0).to(q.device)  # (T, T)
    if bias is not None:
        logits = logits + _spread(bias, allowed, places, windows)
    if mask is not None:
        allowed = allowed & mask.flatten(1)[:, None, None, :]
    weights = logits.masked_fill(~allowed, torch.finfo(q.dtype).min).softmax(-1)
    weights = weights.masked_fill(~allowed, 0.0)  # a token with no valid neighbour gets zeros
    return (weights @ values).transpose(1, 2).reshape(*q.shape[:-1], v.shape[-1])


def _allowed(n: int, window: Window) -> Tensor:
    """Say which of n tokens along one axis (rows) see which, (n, n)."""
    return torch.tensor([[j in seen for j in range(n)] for seen in (window.seen(i, n) for i in range(n))])


def _spread(bias: Tensor, allowed: Tensor, places: Tensor, windows: tuple[Window, ...]) -> Tensor:
    """Look up (H, T, T) biases by relative position; where the mask forbids, the value does not matter."""
    steps = places.new_tensor([window.dilation for window in windows])
    centre = places.new_tensor([window.size for window in windows]) - 1
    relative = (places[None] - places[:, None]).div(steps, rounding_mode="floor") + centre  # (T, T, R)
    relative = relative.where(allowed.unsqueeze(-1), 0)
    return bias[(slice(None), *relative.unbind(-1))]
