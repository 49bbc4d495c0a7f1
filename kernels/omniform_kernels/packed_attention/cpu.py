"""Packed attention in plain torch: torch's fused attention on a view of each sequence.

    T query tokens   S keys   m queries and n keys of one sequence   H heads   K key heads, of G = H / K heads each
    D head size   r rows of a block of queries

From 16 tokens a sequence on, a loop over views takes less time than padding to a common length; a sequence costs some
50 us, however short it is. Where scores must exist (biases, the backward pass), they do so for a block of queries at a
time, so that memory grows with S, not with T S.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.checks import sequence_offsets

__all__ = ["backward", "forward"]

_SCORES = 1 << 20  # how many scores a block of queries may have; 4 MB in float32


@dataclass(frozen=True, slots=True)
class _Span:
    """Queries that follow each other in one sequence, and the keys that they see.

    Attributes:
        lead: how many keys stand before the place of the first query.
    """

    rows: slice
    columns: slice
    lead: int

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def blocks(self, heads: int, causal: bool) -> Iterator["_Span"]:
        """Cut the queries into blocks; a causal one keeps the keys up to its last query."""
        step = max(_SCORES // (heads * self.size[1]), 16)
        for start in range(self.rows.start, self.rows.stop, step):
            rows = slice(start, min(start + step, self.rows.stop))
            end = self.columns.stop - (self.rows.stop - rows.stop if causal else 0)
            yield _Span(rows, slice(self.columns.start, end), self.lead + start - self.rows.start)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    key_offsets: Tensor,
    slopes: Tensor | None,
    causal: bool,
    scale: float,
    bias: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Attend from q (T, H, D) to k, v (S, K, D); differentiable as it is, and in `bias` too."""
    parts = [q[:0]]
    done = 0
    for span in _spans(offsets, key_offsets, len(q), len(k), causal):
        parts.append(q.new_zeros(span.rows.start - done, *q.shape[1:]))
        done = span.rows.stop
        plain = slopes is None and bias is None and not (causal and span.lead)
        for block in [span] if plain else span.blocks(q.shape[1], causal):
            mask = None if plain else _mask(block, slopes, bias, causal, q)
            parts.append(_attend(q[block.rows], k[block.columns], v[block.columns], mask, causal and plain, scale))
    return torch.cat([*parts, q.new_zeros(len(q) - done, *q.shape[1:])])


def backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    offsets: Tensor,
    key_offsets: Tensor,
    slopes: Tensor | None,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v, from weights that are computed again.

    With weights P and dP = dO V^T, the scores' gradient is dA = P * (dP - rowsum(dO * O)).
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    K, G = k.shape[1], q.shape[1] // k.shape[1]
    dq, dk, dv = (torch.zeros_like(tensor, dtype=dtype) for tensor in (q, k, v))
    for span in _spans(offsets, key_offsets, len(q), len(k), causal):
        for block in span.blocks(q.shape[1], causal):
            queries, d, o = (_fold(tensor[block.rows].to(dtype), K) for tensor in (q, dout, out))  # (K, G r, D)
            keys, values = (tensor[block.columns].to(dtype).transpose(0, 1) for tensor in (k, v))  # (K, n, D)
            scores = (queries * scale) @ keys.mT  # (K, G r, n)
            mask = _mask(block, slopes, None, causal, queries)
            if mask is not None:
                scores.view(K, G, -1, keys.shape[1]).add_(mask.unflatten(0, (K, G)) if len(mask) > 1 else mask)
            weights = scores.softmax(-1)
            dscores = (d @ values.mT).sub_((d * o).sum(-1, keepdim=True)).mul_(weights)
            dq[block.rows] = _unfold((dscores @ keys).mul_(scale), G)
            dk[block.columns] += (dscores.mT @ queries).mul_(scale).transpose(0, 1)
            dv[block.columns] += (weights.mT @ d).transpose(0, 1)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def _spans(offsets: Tensor, key_offsets: Tensor, T: int, S: int, causal: bool) -> Iterator[_Span]:
    """Yield, for each sequence that has some, the queries that see a key."""
    bounds = [sequence_offsets(offsets, T).tolist(), sequence_offsets(key_offsets, S).tolist()]
    for (start, stop), (key_start, key_stop) in zip(*map(pairwise, bounds), strict=True):
        n = key_stop - key_start
        start = max(start, stop - n) if causal else start  # queries before the first key see none
        if start < stop and n:
            yield _Span(slice(start, stop), slice(key_start, key_stop), n - (stop - start))


def _mask(
    span: _Span,
    slopes: Tensor | None,
    bias: Callable[[Tensor, Tensor], Tensor] | None,
    causal: bool,
    like: Tensor,
) -> Tensor | None:
    """Return what is added to the scores of a block, (H or 1, r, n); None for nothing."""
    if not causal and slopes is None and bias is None:
        return None
    (r, n), device = span.size, like.device
    distance = span.lead + torch.arange(r, device=device)[:, None] - torch.arange(n, device=device)  # (r, n)
    added = like.new_zeros(1, r, n)
    if slopes is not None:
        added = added - slopes.to(like)[:, None, None] * distance.abs()
    if bias is not None:
        rows, columns = (torch.arange(part.start, part.stop, device=device) for part in (span.rows, span.columns))
        added = added + bias(rows, columns).to(like)
    return added.masked_fill(distance < 0, -torch.inf) if causal else added


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    q, k, v = (tensor.transpose(0, 1)[None] for tensor in (q, k, v))  # (1, H or K, r or n, D)
    grouped = q.shape[1] != k.shape[1]
    mask = None if mask is None else mask[None]
    y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=grouped)
    return y[0].transpose(0, 1)


def _fold(x: Tensor, K: int) -> Tensor:
    """Put the heads that share keys one under the other: (r, H, D) to (K, G r, D)."""
    return x.unflatten(1, (K, -1)).permute(1, 2, 0, 3).flatten(1, 2)


def _unfold(x: Tensor, G: int) -> Tensor:
    return x.unflatten(1, (G, -1)).permute(2, 0, 1, 3).flatten(1, 2)
