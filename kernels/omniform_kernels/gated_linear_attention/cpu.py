"""Gated linear attention on chunks: matrix products inside a chunk, the recurrence only from chunk to chunk.

    B batch   H heads   N chunks   C tokens in a chunk   h tokens in half a span   Dk, Dv head sizes

With G the running sum of the log decays inside a chunk, key j reaches query i >= j with weight exp(G_i - G_j). Split
into exp(G_i) and exp(-G_j), that overflows under strong decay. Every exponent here is a difference that is <= 0: to the
chunk's border between chunks, to the middle of a span between its two halves, and pairwise in the smallest spans.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["chunked"]

_CHUNK = 64
_PAIRWISE = 4  # spans of up to so many tokens compare each pair of tokens


def chunked(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, chunk: int = _CHUNK
) -> tuple[Tensor, Tensor]:
    """Attend with scaled queries q; `log_decay` is (B, L, H, 1) or (B, L, H, Dk), `chunk` a power of two."""
    L = q.shape[1]
    chunk = min(chunk, 1 << (L - 1).bit_length())
    q, k, v, log_decay = (_fold(tensor, chunk) for tensor in (q, k, v, log_decay))  # (B, H, N, C, D)
    G = log_decay.cumsum(-2)  # (B, H, N, C, 1 or Dk)
    total = G[..., -1:, :]  # (B, H, N, 1, 1 or Dk)
    scores = _ChannelScores.apply(q, k, G) if G.shape[-1] > 1 else _head_scores(q, k, G)  # (B, H, N, C, C)
    writes = (k * (total - G).exp()).transpose(-1, -2) @ v  # (B, H, N, Dk, Dv)
    states, final = _carry(state, total.exp().transpose(-1, -2), writes)
    out = scores @ v + (q * G.exp()) @ states  # (B, H, N, C, Dv)
    return out.flatten(2, 3)[:, :, :L].transpose(1, 2), final


def _fold(x: Tensor, chunk: int) -> Tensor:
    """Cut (B, L, H, D) into chunks (B, H, N, C, D); padding with zeros adds tokens that change nothing."""
    x = F.pad(x.transpose(1, 2), (0, 0, 0, -x.shape[1] % chunk))  # (B, H, N C, D)
    return x.unflatten(2, (-1, chunk)).contiguous()


def _carry(state: Tensor, decays: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states before each chunk (B, H, N, Dk, Dv) and after the last (B, H, Dk, Dv)."""
    states = [state]
    for decay, write in zip(decays.unbind(2), writes.unbind(2), strict=True):
        states.append(torch.addcmul(write, decay, states[-1]))
    return torch.stack(states[:-1], dim=2), states[-1]


def _head_scores(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    """Return causal scores (..., C, C) of one decay per head, G (..., C, 1)."""
    later = torch.ones(G.shape[-2], G.shape[-2], dtype=torch.bool, device=G.device).triu(1)
    differences = (G - G.transpose(-1, -2)).masked_fill(later, -torch.inf)  # (..., C, C)
    return (q @ k.transpose(-1, -2)) * differences.exp()


class _ChannelScores(torch.autograd.Function):
    r"""Causal scores of one decay per channel, A_ij = sum_d q_id k_jd exp(G_id - G_jd).

    Where G enters, it stands beside q or k, so its gradient needs no exponential of its own: dG = q dq - k dk.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, G: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, G)
        C = q.shape[-2]
        scores = q.new_zeros(*q.shape[:-1], C)
        for h in _half_spans(C):
            second, first = _halves(q, h)[1], _halves(k, h)[0]
            to_second, to_first = _half_decays(G, h)
            blocks = (second * to_second) @ (first * to_first).transpose(-1, -2)  # (..., C / 2h, h, h)
            _spans(scores, 2 * h)[..., h:, :h] = blocks
        pairs = _spans(scores, min(_PAIRWISE, C))
        for lag, later, earlier, decay in _pairs(q, k, G):
            pairs.diagonal(-lag, -2, -1).copy_((later * earlier * decay).sum(-1))
        return scores

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (grad,) = grads
        q, k, G = ctx.saved_tensors
        C = q.shape[-2]
        dq, dk = torch.zeros_like(q), torch.zeros_like(k)
        for h in _half_spans(C):
            second, first = _halves(q, h)[1], _halves(k, h)[0]
            to_second, to_first = _half_decays(G, h)
            blocks = _spans(grad, 2 * h)[..., h:, :h].contiguous()  # (..., C / 2h, h, h)
            _halves(dq, h)[1].addcmul_(blocks @ (first * to_first), to_second)
            _halves(dk, h)[0].addcmul_(blocks.transpose(-1, -2) @ (second * to_second), to_first)
        pairs = _spans(grad, min(_PAIRWISE, C))
        dq_pairs, dk_pairs = (tensor.unflatten(-2, (-1, min(_PAIRWISE, C))) for tensor in (dq, dk))
        for lag, later, earlier, decay in _pairs(q, k, G):
            weight = pairs.diagonal(-lag, -2, -1).unsqueeze(-1) * decay  # (..., spans, pairs, Dk)
            dq_pairs[..., lag:, :].addcmul_(earlier, weight)
            dk_pairs[..., : earlier.shape[-2], :].addcmul_(later, weight)
        return dq, dk, q * dq - k * dk


def _half_spans(C: int) -> list[int]:
    """Return half the length of each span that is split in two: C / 2, C / 4, ... down to the pairwise spans."""
    return [C >> level for level in range(1, C.bit_length()) if C >> level >= _PAIRWISE]


def _spans(scores: Tensor, length: int) -> Tensor:
    """View the blocks on the diagonal of (..., C, C) as (..., C / length, length, length)."""
    blocks = scores.unflatten(-1, (-1, length)).unflatten(-3, (-1, length))  # (..., C/l, l, C/l, l)
    return blocks.diagonal(0, -4, -2).movedim(-1, -3)


def _halves(x: Tensor, h: int) -> tuple[Tensor, Tensor]:
    """View the first and second half of every span of 2 h tokens, each (..., C / 2h, h, D)."""
    spans = x.unflatten(-2, (-1, 2, h))
    return spans[..., 0, :, :], spans[..., 1, :, :]


def _half_decays(G: Tensor, h: int) -> tuple[Tensor, Tensor]:
    """Return the decay from the middle of each span to its second half, and from the first half to the middle."""
    first, second = _halves(G, h)
    middle = first[..., -1:, :]
    return (second - middle).exp_(), (middle - first).exp_()


def _pairs(q: Tensor, k: Tensor, G: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield, for each lag in the smallest spans, the queries, the keys that far before them, and the decay between."""
    length = min(_PAIRWISE, q.shape[-2])
    q, k, G = (tensor.unflatten(-2, (-1, length)) for tensor in (q, k, G))  # (..., C / length, length, Dk)
    for lag in range(length):
        decay = (G[..., lag:, :] - G[..., : length - lag, :]).exp_()
        yield lag, q[..., lag:, :], k[..., : length - lag, :], decay
