"""The short convolution as a sum of shifted inputs: no window is ever stored."""

import torch
from torch import Tensor

__all__ = ["convolve"]


def convolve(x: Tensor, weight: Tensor, state: Tensor, offsets: Tensor | None) -> Tensor:
    """Convolve x (B, L, C) after the inputs of the state (B, K - 1, C); packed sequences side by side."""
    if offsets is None:
        return _sum_shifts(torch.cat([state, x], dim=1), weight)
    L, K = x.shape[1], weight.shape[1]
    token = torch.arange(L, device=x.device)
    sequence = torch.searchsorted(offsets, token, right=True) - 1  # of each token
    window = token + sequence * (K - 1)  # where each token's begins, once every sequence has its state before it
    before = offsets[:-1] + torch.arange(len(state), device=x.device) * (K - 1)  # of each sequence's state
    slots = before[:, None] + torch.arange(K - 1, device=x.device)
    context = x.new_zeros(L + slots.numel(), x.shape[-1])
    context = context.index_copy(0, slots.flatten(), state.flatten(0, 1)).index_copy(0, window + K - 1, x[0])
    return _sum_shifts(context[None], weight).index_select(1, window)


def _sum_shifts(context: Tensor, weight: Tensor) -> Tensor:
    """Convolve (B, K - 1 + L, C), earlier inputs first, to (B, L, C)."""
    K = weight.shape[1]
    L = context.shape[1] - K + 1
    y = context[:, :L] * weight[:, 0]
    for j in range(1, K):
        y = y.addcmul(context[:, j : j + L], weight[:, j])
    return y
