"""What recurrent mixers share: the inputs that a short convolution carries on, and the first sizes of their steps.

Shapes: B batch, L tokens, E channels.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

__all__ = ["initial_steps", "last_inputs"]

_STEP_RANGE = (1e-3, 1e-1)


def last_inputs(before: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    """Return the last `taps - 1` inputs that are valid: of those before, and of a right-padded chunk (B, L, E)."""
    step = torch.arange(before.shape[1], device=mask.device)
    index = mask.sum(1, keepdim=True) + step  # (B, taps - 1)
    context = torch.cat([before, inputs], dim=1)
    return context.gather(1, index[..., None].expand(-1, -1, context.shape[-1]))


def initial_steps(count: int) -> Tensor:
    """Draw what the softplus turns into step sizes, log-uniform in [0.001, 0.1], as Mamba's authors do."""
    low, high = (log(size) for size in _STEP_RANGE)
    size = torch.empty(count).uniform_(low, high).exp()
    return size + (-torch.expm1(-size)).log()  # the inverse of softplus
