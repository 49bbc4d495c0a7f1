"""The definition of neighborhood attention: dense attention under a mask that says who is whose neighbour."""

from itertools import product

import torch
from torch import Tensor

__all__ = ["dense"]

_Index = tuple[int, ...]  # one number per axis


def dense(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: _Index,
    dilation: _Index,
    bias: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Attend with scaled queries q (B, *grid, H, D) to every token, then forget all but the neighbours."""
    grid = q.shape[1:-2]
    queries, keys, values = (tensor.flatten(1, -3).transpose(1, 2) for tensor in (q, k, v))  # (B, H, T, D)
    logits = queries @ keys.transpose(-1, -2)  # (B, H, T, T)
    tokens = list(product(*(range(n) for n in grid)))
    allowed = torch.tensor(
        [[_is_neighbour(i, j, grid, kernel_size, dilation) for j in tokens] for i in tokens], device=q.device
    )
    if bias is not None:
        logits = logits + _spread(bias, allowed, tokens, kernel_size, dilation)
    if mask is not None:
        allowed = allowed & mask.flatten(1)[:, None, None, :]
    weights = logits.masked_fill(~allowed, torch.finfo(q.dtype).min).softmax(-1)
    weights = weights.masked_fill(~allowed, 0.0)  # a token with no valid neighbour gets zeros
    return (weights @ values).transpose(1, 2).reshape(*q.shape[:-1], v.shape[-1])


def _is_neighbour(i: _Index, j: _Index, grid: _Index, kernel_size: _Index, dilation: _Index) -> bool:
    """Say whether token j lies in the window of token i along every axis."""
    return all(b in _window(a, *axis) for a, b, *axis in zip(i, j, grid, kernel_size, dilation, strict=True))


def _window(i: int, n: int, kernel_size: int, dilation: int) -> list[int]:
    """Return the tokens that token i of n sees along one axis: of its residue class, centred if the border lets it."""
    residues = list(range(i % dilation, n, dilation))
    start = residues.index(i) - kernel_size // 2
    start = max(0, min(start, len(residues) - kernel_size))
    return residues[start : start + kernel_size]


def _spread(bias: Tensor, allowed: Tensor, tokens: list[_Index], kernel_size: _Index, dilation: _Index) -> Tensor:
    """Look up (H, T, T) biases by relative position; where the mask forbids, the value does not matter."""
    positions = torch.tensor(tokens, device=bias.device)  # (T, R)
    steps = positions.new_tensor(dilation)
    centre = positions.new_tensor(kernel_size) - 1
    relative = (positions[None] - positions[:, None]).div(steps, rounding_mode="floor") + centre  # (T, T, R)
    relative = relative.where(allowed.unsqueeze(-1), 0)
    return bias[(slice(None), *relative.unbind(-1))]
