"""The definition of both norms."""

import torch
from torch import Tensor

__all__ = ["normalise"]


def normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, centred: bool) -> Tensor:
    """Divide x (N, D) by its root mean square, from its mean if `centred`; then scale and shift."""
    if centred:
        x = x - x.mean(-1, keepdim=True)
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias
