"""The definition: the softmax of each sequence by itself.

m queries and n keys of one sequence   H heads   K key heads   D head size
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["attend"]


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    key_offsets: Tensor,
    slopes: Tensor | None,
    bias: Callable[[Tensor, Tensor], Tensor] | None,
    causal: bool,
    scale: float,
) -> Tensor:
    """Attend from q (T, H, D) to k, v (S, K, D)."""
    group = q.shape[1] // k.shape[1]
    k, v = (tensor.repeat_interleave(group, dim=1) for tensor in (k, v))
    parts = [q[:0]]
    bounds = zip(pairwise(offsets.tolist()), pairwise(key_offsets.tolist()), strict=True)
    for (start, stop), (key_start, key_stop) in bounds:
        rows = torch.arange(start, stop, device=q.device)
        columns = torch.arange(key_start, key_stop, device=q.device)
        scores = scale * torch.einsum("mhd,nhd->hmn", q[rows], k[columns])
        places = torch.arange(len(rows), device=q.device) + len(columns) - len(rows)  # the last query at the last key
        distance = places[:, None] - (columns - key_start)  # (m, n)
        if slopes is not None:
            scores = scores - slopes.to(scores)[:, None, None] * distance.abs()
        if bias is not None:
            scores = scores + bias(rows, columns)
        visible = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1) if len(columns) else scores
        weights = torch.where(visible.any(-1, keepdim=True), weights, 0)  # who sees no key gets zero
        parts.append(torch.einsum("hmn,nhd->mhd", weights, v[columns]))
    return torch.cat(parts)
