"""Losses of segmentation: overlap of classes together with the likelihood of voxels.

Shapes: B batch, K classes, `*S` two or three spatial axes, N voxels, R regions per axis. Logits are `(B, K, *S)` in any
floating type, labels `(B, *S)` integers in `0 .. K - 1`; sums run in float32, under autocast too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["SegmentationLoss", "deep_supervision", "dice_cross_entropy", "region_tversky", "tversky_cross_entropy"]

SegmentationLoss = Callable[[Tensor, Tensor], Tensor]
"""`(logits (B, K, *S), labels (B, *S)) -> ()`."""

_SMOOTH = 1e-5


def dice_cross_entropy(logits: Tensor, labels: Tensor, *, per_sample: bool = False) -> Tensor:
    r"""Add soft Dice of the foreground classes to cross-entropy, as nnU-Net does (doi 10.1038/s41592-020-01008-z).

    .. math::
        1 - \frac1{K-1} \sum_{k>0} \frac{2 \sum_n p_{nk} y_{nk} + \epsilon}{\sum_n p_{nk} + \sum_n y_{nk} + \epsilon}
        - \frac1N \sum_n \log p_{n y_n}

    Sums over n run over the whole batch: a small patch often lacks a class, and a Dice of its own would then be all or
    nothing. `per_sample` takes Dice of each sample and averages.
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_p = _wide(logits).flatten(2).log_softmax(dim=1)  # (B, K, N)
        target = labels.flatten(1).long()  # (B, N)
        true = log_p.gather(1, target[:, None])[:, 0]  # (B, N), log-probability of the true class
        sums = log_p.new_zeros(log_p.shape[:2])  # (B, K)
        overlap = sums.scatter_add(1, target, true.exp())
        mass = log_p.exp().sum(dim=2) + sums.scatter_add(1, target, torch.ones_like(true))
        if not per_sample:
            overlap, mass = overlap.sum(dim=0), mass.sum(dim=0)  # (K,)
        dice = (2 * overlap + _SMOOTH) / (mass + _SMOOTH)
        return 1 - dice[..., 1:].mean() - true.mean()


def region_tversky(
    logits: Tensor, labels: Tensor, *, regions: int = 16, least: float = 0.3, share: float = 0.4
) -> Tensor:
    r"""Return 1 minus the Tversky index of the foreground classes, averaged over a grid of regions (arXiv 2409.12533).

    Region by region, TP, FP and FN are means of `p y`, `p (1 - y)` and `(1 - p) y` over its voxels, summed over the
    batch:

    .. math::
        \alpha = a + b \frac{FP}{FP + FN}, \quad \beta = a + b \frac{FN}{FP + FN}, \quad
        TI = \frac{TP}{TP + \alpha FP + \beta FN}

    so that the error that prevails in a region weighs more. Every sum is smoothed, evenly for FP and FN: a region
    without a class and without mistakes counts as right, with a gradient that stays finite.

    Args:
        regions: along each axis, at most one per voxel; 1 is the whole patch.
        least, share: a and b of the equations; 1/2 and 0 with one region is soft Dice.
    """
    with torch.autocast(logits.device.type, enabled=False):
        p = _wide(logits).softmax(dim=1)[:, 1:]  # (B, K - 1, *S)
        classes = torch.arange(1, logits.shape[1], device=labels.device)
        y = (labels[:, None] == classes.reshape(-1, *(1,) * (labels.ndim - 1))).to(p)  # (B, K - 1, *S)
        predicted, present, hit = (_pool(part, regions) for part in (p, y, p * y))  # (K - 1, *R)
        extra, missed = (predicted - hit).clamp(min=0), (present - hit).clamp(min=0)
        wrong = extra + missed + _SMOOTH
        alpha = least + share * (extra + _SMOOTH / 2) / wrong
        beta = least + share * (missed + _SMOOTH / 2) / wrong
        return 1 - ((hit + _SMOOTH) / (hit + alpha * extra + beta * missed + _SMOOTH)).mean()


def tversky_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Add cross-entropy to the region-specific Tversky loss, as MambaClinix trains."""
    with torch.autocast(logits.device.type, enabled=False):
        return region_tversky(logits, labels) + F.cross_entropy(_wide(logits), labels.long())


def deep_supervision(loss: SegmentationLoss, logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Average a loss over resolutions, each with half of the weight of the finer one before it.

    Args:
        loss: of one resolution.
        logits: `(B, K, *S)`, finest first.
        labels: `(B, *S)` of the finest; coarser ones take the voxel that lies nearest.
    """
    weights = [2.0**-i for i in range(len(logits))]
    total = sum(
        weight * loss(each, _shrink(labels, each.shape[2:])) for weight, each in zip(weights, logits, strict=True)
    )
    return torch.as_tensor(total) / sum(weights)


def _wide(x: Tensor) -> Tensor:
    """Return float64 as it is, anything narrower in float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _pool(x: Tensor, regions: int) -> Tensor:
    """Return means over regions, summed over the batch: `(B, K, *S) -> (K, *R)`."""
    total = x.sum(dim=0)
    x_regions, y_regions, *z_regions = (min(regions, n) for n in total.shape[1:])
    if not z_regions:
        return F.adaptive_avg_pool2d(total, (x_regions, y_regions))
    return F.adaptive_avg_pool3d(total, (x_regions, y_regions, z_regions[0]))


def _shrink(labels: Tensor, size: torch.Size) -> Tensor:
    """Return the labels at the voxels nearest to those of a coarser grid."""
    for axis, coarse in enumerate(size, start=1):
        fine = labels.shape[axis]
        if fine != coarse:
            index = torch.arange(coarse, device=labels.device) * fine // coarse
            labels = labels.index_select(axis, index)
    return labels
