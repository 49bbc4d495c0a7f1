"""The loss of masks and of what a network thinks of them.

Shapes: B batch, M = 4 masks, S side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["mask_loss"]

_FOCAL = 20.0
_GAMMA, _ALPHA = 2.0, 0.25
_ONE = 1.0  # voxel that is added above and below, so that nothing is divided by nothing


def mask_loss(logits: Tensor, quality: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of masks and of their predicted quality.

    A mask's loss is `20 focal + dice` (SAM, arXiv 2304.02643; focal loss: 1708.02002). The first mask's counts, and of
    the others, which offer what an ambiguous prompt may mean, the best one's. Quality is the intersection over union of
    each mask with the truth, by its squared error.

    Args:
        logits: `(B, M, S, S)`.
        quality: `(B, M)`.
        truth: `(B, S, S)`, 0 to 1.
    """
    target = truth[:, None].expand_as(logits)
    losses = _FOCAL * _focal(logits, target) + _dice(logits, target)  # (B, M)
    drawn, true = logits.detach() > 0, target > 0.5
    iou = (drawn & true).sum((-2, -1)) / (drawn | true).sum((-2, -1)).clamp(min=1)
    return (losses[:, 0] + losses[:, 1:].amin(1)).mean(), F.mse_loss(quality, iou.to(quality.dtype))


def _focal(logits: Tensor, target: Tensor) -> Tensor:
    probability = torch.sigmoid(logits)
    miss = probability + target - 2 * probability * target
    weight = _ALPHA * target + (1 - _ALPHA) * (1 - target)
    surprise = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * miss**_GAMMA * surprise).mean((-2, -1))


def _dice(logits: Tensor, target: Tensor) -> Tensor:
    probability = torch.sigmoid(logits)
    both = (probability * target).sum((-2, -1))
    return 1 - (2 * both + _ONE) / (probability.sum((-2, -1)) + target.sum((-2, -1)) + _ONE)
