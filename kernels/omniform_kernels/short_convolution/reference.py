"""The definition of the short convolution: a dot product with every window."""

import torch
from torch import Tensor

__all__ = ["convolve"]


def convolve(x: Tensor, weight: Tensor, state: Tensor, offsets: Tensor | None) -> Tensor:
    """Convolve x (B, L, C) after the inputs of the state (B, K - 1, C), one packed sequence after the other."""
    if offsets is None:
        return _convolve(x, weight, state)
    sequences = zip(x.split(offsets.diff().tolist(), dim=1), state.unsqueeze(1), strict=True)
    return torch.cat([_convolve(one, weight, before) for one, before in sequences if one.shape[1]], dim=1)


def _convolve(x: Tensor, weight: Tensor, state: Tensor) -> Tensor:
    windows = torch.cat([state, x], dim=1).unfold(1, weight.shape[1], 1)  # (B, L, C, K)
    return (windows * weight).sum(-1)
