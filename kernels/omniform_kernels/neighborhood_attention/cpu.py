"""Neighborhood attention tile by tile: neighbouring queries share most of their keys, so a tile is a matrix product.

    B batch   grid n1, n2, ...   t tiles   a queries and c keys of a tile along one axis   H heads   D head size

Along each axis the tokens of one residue class modulo the dilation are put side by side and cut into tiles of a
queries, a multiple of the stride, and the c <= a + K - 1 keys that these see between them. Axes are independent, so a
grid needs one small plan an axis.
"""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from omniform_kernels.neighborhood_attention.window import Window

__all__ = ["tiled"]

# A tile has about as many queries along an axis as the kernel, within these bounds by the rank of the grid: fewer make
# the products too small, more compute too many products in vain.
_TILE_BOUNDS = {1: (32, 32), 2: (4, 8), 3: (3, 4)}


@dataclass(frozen=True, slots=True)
class _Axis:
    """Who meets whom along one axis."""

    queries: Tensor  # (t, a) tokens; a tile that runs over the end repeats the last token
    keys: Tensor  # (t, c) tokens
    allowed: Tensor  # (t, a, c) whether the key is a neighbour
    relative: Tensor  # (t, a, c) row of the bias table, right where allowed
    slots: Tensor  # (n,) place of each token among the (t a) queries


def tiled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    windows: tuple[Window, ...],
    bias: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Attend with scaled queries q (B, *grid, H, D), every tile of queries to the keys around it."""
    grid = q.shape[1:-2]
    least, most = _TILE_BOUNDS[len(grid)]
    axes = [
        _plan(n, window, min(max(window.size, least), most), q.device) for n, window in zip(grid, windows, strict=True)
    ]
    queries = _gather(q, [axis.queries for axis in axes])  # (B, tiles, H, a.., D)
    keys, values = (_gather(x, [axis.keys for axis in axes]) for x in (k, v))  # (B, tiles, H, c.., D)
    allowed = _outer([axis.allowed for axis in axes])  # (tiles, 1, a.., c..)
    logits = queries @ keys.transpose(-1, -2)  # (B, tiles, H, a.., c..)
    if bias is not None:
        logits = logits + _spread(bias, [axis.relative for axis in axes])
    if mask is not None:
        valid = _gather(mask[..., None, None], [axis.keys for axis in axes])  # (B, tiles, 1, c.., 1)
        allowed = allowed & valid.transpose(-1, -2)
    weights = logits.masked_fill(~allowed, torch.finfo(q.dtype).min).softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(~allowed, 0.0)  # a token with no valid neighbour gets zeros
    return _scatter(weights @ values, axes)


def _plan(n: int, window: Window, tile: int, device: torch.device) -> _Axis:
    """Cut an axis of n tokens into tiles."""
    residue = torch.arange(min(window.dilation, n), device=device)[:, None, None]  # (r, 1, 1)
    size = (n - residue + window.dilation - 1).div(window.dilation, rounding_mode="floor")  # of each residue class
    longest = -(-n // window.dilation)
    tile = min(-(-tile // window.stride) * window.stride, longest)
    span = min(tile + window.size - window.stride, longest)
    slot = torch.arange(-(-longest // tile) * tile, device=device).view(-1, tile)  # (t / r, a)
    query = torch.minimum(slot, size - 1)  # (r, t / r, a), places in the residue class
    start, stop = _bounds(query, size, window)
    base = torch.minimum(start[..., :1], size - span).clamp(min=0)
    key = base + torch.arange(span, device=device)  # (r, t / r, c)
    seen, other = key.unsqueeze(-2), query.unsqueeze(-1)
    allowed = (seen >= start.unsqueeze(-1)) & (seen < stop.unsqueeze(-1))  # (r, t / r, a, c)
    relative = (seen - other + window.size - 1).clamp(0, 2 * window.size - 2)
    token = torch.arange(n, device=device)
    return _Axis(
        queries=(residue + window.dilation * query).flatten(0, 1),
        keys=(residue + window.dilation * torch.minimum(key, size - 1)).flatten(0, 1),
        allowed=allowed.flatten(0, 1),
        relative=relative.flatten(0, 1),
        slots=token % window.dilation * slot.numel() + token.div(window.dilation, rounding_mode="floor"),
    )


def _bounds(query: Tensor, size: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Return the first place that each query sees, and the place after the last."""
    group = query.div(window.stride, rounding_mode="floor") * window.stride
    if window.causal:
        leader = torch.minimum(group + window.stride - 1, size - 1)
        return (leader - window.size + 1).clamp(min=0), query + 1
    leader = torch.minimum(group + window.stride // 2, size - 1)
    start = torch.minimum(leader - window.size // 2, size - window.size).clamp(min=0)
    return start, torch.minimum(start + window.size, size)


def _gather(x: Tensor, tokens: list[Tensor]) -> Tensor:
    """Collect the tokens (t, a) of each axis from (B, *grid, H, D) into (B, tiles, H, a.., D)."""
    rank = len(tokens)
    for i, index in enumerate(tokens):
        dim = 1 + 2 * i
        x = x.index_select(dim, index.flatten()).unflatten(dim, index.shape)  # (B, t1, a1, ..., H, D)
    tiles, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    x = x.permute(0, *tiles, -2, *inner, -1)  # (B, t1, t2, .., H, a1, a2, .., D)
    return x.flatten(rank + 2, -2).flatten(1, rank)


def _scatter(x: Tensor, axes: list[_Axis]) -> Tensor:
    """Bring (B, tiles, H, a.., D) back to (B, *grid, H, D)."""
    rank = len(axes)
    shapes = [axis.queries.shape for axis in axes]
    x = x.unflatten(3, [shape[1] for shape in shapes]).unflatten(1, [shape[0] for shape in shapes])
    pairs = (dim for i in range(rank) for dim in (1 + i, 2 + rank + i))
    x = x.permute(0, *pairs, 1 + rank, -1)  # (B, t1, a1, t2, a2, .., H, D)
    for i, axis in enumerate(axes):
        x = x.flatten(1 + i, 2 + i).index_select(1 + i, axis.slots)
    return x


def _outer(allowed: list[Tensor]) -> Tensor:
    """Join the axes' (t, a, c) into (tiles, 1, a.., c..): a neighbour is one along every axis."""
    rank = len(allowed)
    return _join(reduce(torch.logical_and, (_place(x, i, rank) for i, x in enumerate(allowed))), rank).unsqueeze(1)


def _spread(bias: Tensor, relative: list[Tensor]) -> Tensor:
    """Look up the bias (H, *table) of each query and key, (tiles, H, a.., c..)."""
    rank = len(relative)
    for i, index in enumerate(relative):
        dim = 1 + 3 * i
        bias = bias.index_select(dim, index.flatten()).unflatten(dim, index.shape)  # (H, t1, a1, c1, ...)
    order = [1 + 3 * i + j for j in range(3) for i in range(rank)]
    return _join(bias.permute(*order, 0), rank).movedim(-1, 1)


def _place(x: Tensor, i: int, rank: int) -> Tensor:
    """View (t, a, c) of axis i so that it broadcasts to (t1, t2, .., a1, a2, .., c1, c2, ..)."""
    shape = [1] * (3 * rank)
    shape[i::rank] = x.shape
    return x.view(shape)


def _join(x: Tensor, rank: int) -> Tensor:
    """Flatten (t1, t2, .., a1, a2, .., c1, c2, .., *rest) to (tiles, a.., c.., *rest)."""
    return x.flatten(2 * rank, 3 * rank - 1).flatten(rank, 2 * rank - 1).flatten(0, rank - 1)
