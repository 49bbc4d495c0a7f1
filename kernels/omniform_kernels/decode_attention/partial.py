"""Attention to a part of the keys, and the merge of two such parts into that to both.

B batch   n keys of the part   H heads   K key heads, of G = H / K heads each   D head size
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Partial", "added_scores", "attend_part", "merge"]


class Partial(NamedTuple):
    """What attention to some of the keys gives.

    Attributes:
        out: the mean of their values under the softmax among them, (..., D); zero of no keys.
        log_sum: the logarithm of the sum of their exponentiated scores, (...); minus infinity of no keys.
    """

    out: Tensor
    log_sum: Tensor


def added_scores(
    q: Tensor, k: Tensor, lengths: Tensor | None, mask: Tensor | None, slopes: Tensor | None
) -> Tensor | None:
    """Return what a cache's lengths (B,), mask (B, S) and slopes (H,) add to the scores, (B or 1, H or 1, S)."""
    S, device = k.shape[1], q.device
    if lengths is None and mask is None and slopes is None:
        return None
    n = torch.full((1,), S, device=device) if lengths is None else lengths
    distance = n[:, None] - 1 - torch.arange(S, device=device)  # (B or 1, S)
    seen = distance >= 0 if mask is None else mask & (distance >= 0)
    dtype = torch.promote_types(q.dtype, torch.float32)
    added = (
        torch.zeros((), device=device, dtype=dtype)
        if slopes is None
        else -slopes.to(dtype)[:, None] * distance[:, None]
    )
    return torch.where(seen[:, None], added, -torch.inf)


def attend_part(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float) -> Partial:
    """Attend from q (B, H, D) to k, v (B, n, K, D), with what is added to the scores (B or 1, H or 1, n).

    Where minus infinity is added the key is not seen, whatever its value holds.
    """
    if k.shape[1] == 0:
        return Partial(torch.zeros_like(q), q.new_full(q.shape[:-1], -torch.inf))
    if added is not None:
        unseen = added == -torch.inf
        k, v = (tensor.masked_fill(unseen.all(1)[..., None, None], 0) for tensor in (k, v))
    K = k.shape[2]
    scores = scale * (q.unflatten(1, (K, -1)) @ k.permute(0, 2, 3, 1)).flatten(1, 2)  # (B, H, n)
    scores = scores if added is None else scores + added
    shift = _finite(scores.amax(-1, keepdim=True).detach())
    weights = (scores - shift).exp()
    out = (weights.unflatten(1, (K, -1)) @ v.transpose(1, 2)).flatten(1, 2)  # (B, H, D)
    return _normalise(out, weights.sum(-1), shift.squeeze(-1))


def merge(a: Partial, b: Partial) -> Partial:
    """Return attention to the keys of both parts, exactly: associative, commutative, no keys being the identity.

    Source: Sanovar et al., Lean Attention, arXiv 2405.10480.
    """
    shift = _finite(torch.maximum(a.log_sum, b.log_sum).detach())
    weight_a, weight_b = (a.log_sum - shift).exp(), (b.log_sum - shift).exp()
    return _normalise(weight_a[..., None] * a.out + weight_b[..., None] * b.out, weight_a + weight_b, shift)


def _normalise(out: Tensor, total: Tensor, shift: Tensor) -> Partial:
    seen = total > 0
    total = torch.where(seen, total, 1)  # keeps gradients finite where no key is seen
    return Partial(out / total[..., None], torch.where(seen, shift + total.log(), -torch.inf))


def _finite(maximum: Tensor) -> Tensor:
    return maximum.masked_fill(maximum == -torch.inf, 0)
