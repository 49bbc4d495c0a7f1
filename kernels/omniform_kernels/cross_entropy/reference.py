"""The definition, with all logits at once."""

import torch
from torch import Tensor

__all__ = ["total"]


def total(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int) -> Tensor:
    """Return the sum of the losses of tokens (N, D) under classes (V, D)."""
    logits = hidden @ weight.T if bias is None else hidden @ weight.T + bias  # (N, V)
    valid = targets != ignore_index
    picked = logits.gather(1, torch.where(valid, targets, 0)[:, None])[:, 0]
    return torch.where(valid, logits.logsumexp(1) - picked, 0).sum()
