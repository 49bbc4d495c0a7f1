"""Decoding in plain torch: torch's fused attention, for which the heads that share keys are rows of one query.

    B batch   S places of the cache   H heads   K key heads, of G = H / K heads each   D head size

So no key is repeated, and a cache may lie with heads or with places outside.
"""

from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.decode_attention.partial import added_scores, attend_part, merge

__all__ = ["attend", "attend_in_parts"]


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None,
    slopes: Tensor | None,
    scale: float,
) -> Tensor:
    """Attend from q (B, H, D) to k, v (B, S, K, D); with `lengths`, sequence by sequence to just what is filled."""
    if lengths is None:
        return _attend(q, k, v, mask, slopes, scale)
    parts = [q[:0]]
    for b, n in enumerate(lengths.tolist()):
        row = slice(b, b + 1)
        seen = None if mask is None else mask[row, :n]
        parts.append(_attend(q[row], k[row, :n], v[row, :n], seen, slopes, scale) if n else torch.zeros_like(q[row]))
    return torch.cat(parts)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, slopes: Tensor | None, scale: float) -> Tensor:
    B, H, D = q.shape
    K = k.shape[2]
    added = None if mask is None else mask[:, None, None]  # (B, 1, 1, S)
    if slopes is not None:
        scores = added_scores(q, k, None, mask, slopes)
        added = None if scores is None else scores.view(len(scores), K, H // K, -1)
    rows = q.reshape(B, K, H // K, D)
    # A row that sees no key gets zero from torch too.
    return F.scaled_dot_product_attention(rows, k.transpose(1, 2), v.transpose(1, 2), added, scale=scale).view(B, H, D)


def attend_in_parts(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float, splits: int) -> Tensor:
    """Do what `attend` does, part by part of the cache."""
    S = k.shape[1]
    bounds = [S * i // splits for i in range(splits + 1)]
    parts = [
        attend_part(q, k[:, a:b], v[:, a:b], None if added is None else added[..., a:b], scale)
        for a, b in pairwise(bounds)
    ]
    return reduce(merge, parts).out
