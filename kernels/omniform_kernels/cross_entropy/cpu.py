"""Losses and the gradients of logits in plain torch."""

import torch
from torch import Tensor

__all__ = ["differentiate"]


def differentiate(logits: Tensor, targets: Tensor, ignore_index: int, gradient: bool) -> tuple[Tensor, Tensor]:
    """Return the losses (n,) of logits (n, V), and the gradient of their sum (n, V), which may overwrite the logits.

    Without `gradient` the second is of no meaning.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    ignored = targets == ignore_index
    targets = targets.masked_fill(ignored, 0)[:, None]
    if not gradient:
        logits = logits.to(dtype)
        losses = logits.logsumexp(1) - logits.gather(1, targets)[:, 0]
        return losses.masked_fill_(ignored, 0), logits
    scores = torch.log_softmax(logits, 1, dtype=dtype)
    losses = -scores.gather(1, targets)[:, 0]
    gradients = scores.exp_().scatter_add_(1, targets, torch.full_like(targets, -1, dtype=dtype))
    gradients.masked_fill_(ignored[:, None], 0)
    return losses.masked_fill_(ignored, 0), gradients.to(logits.dtype)
