"""Neighborhood attention on a GPU: a tile of queries meets the box of keys that it sees, block by block.

    B batch   lengths of three axes (leading 1s below rank 3), T tokens   H heads   D, DV head sizes, P, PV rounded up
    M tokens of a tile   N tokens of a block   K, DILATION, STRIDE, CAUSAL, TILE a number for each axis

A tile lies in one residue class modulo the dilation along each axis; a place is a token's number in its class. Both
ends of a window move on with its query: the keys of a tile of queries fill a box, as do the queries that see a tile of
keys. Logits and their log-sum-exps (lse) are in units of log 2. Backward computes the weights again: one kernel walks a
tile's keys and gives dq, another walks a tile's queries and gives dk and dv. Gradients of the bias are added by
atomics, in no fixed order.
"""

from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from omniform_kernels.neighborhood_attention.window import Window

__all__ = ["backward", "forward"]

_LOG2_E = tl.constexpr(1.4426950408889634)
_BIAS_COPIES = 32  # of the table, so that fewer atomics wait for each other


@triton.jit
def _locate_along(index, n, DILATION: tl.constexpr, TILE: tl.constexpr):
    tiles = tl.cdiv(tl.cdiv(n, DILATION), TILE)  # of each residue class
    residue = index // tiles
    size = tl.cdiv(n - residue, DILATION)
    first = index % tiles * TILE
    return residue, size, first, tl.minimum(first + TILE, size) - 1


@triton.jit
def _count_along(n, DILATION: tl.constexpr, TILE: tl.constexpr):
    return tl.minimum(n, DILATION) * tl.cdiv(tl.cdiv(n, DILATION), TILE)


@triton.jit
def _locate(lengths, H, DILATION: tl.constexpr, TILE: tl.constexpr):
    """Return this program's batch, head, and along each axis its residue, the size of that class, first and last place.

    A class smaller than the others may have nothing left for its last tile: first then exceeds last.
    """
    count0 = _count_along(lengths[0], DILATION[0], TILE[0])
    count1 = _count_along(lengths[1], DILATION[1], TILE[1])
    count2 = _count_along(lengths[2], DILATION[2], TILE[2])
    tiles = count0 * count1 * count2
    tile = tl.program_id(0) % tiles
    sample = tl.program_id(0) // tiles
    residue0, size0, first0, last0 = _locate_along(tile // (count1 * count2), lengths[0], DILATION[0], TILE[0])
    residue1, size1, first1, last1 = _locate_along(tile // count2 % count1, lengths[1], DILATION[1], TILE[1])
    residue2, size2, first2, last2 = _locate_along(tile % count2, lengths[2], DILATION[2], TILE[2])
    return (
        (sample // H).to(tl.int64),
        sample % H,
        (residue0, residue1, residue2),
        (size0, size1, size2),
        (first0, first1, first2),
        (last0, last1, last2),
    )


@triton.jit
def _window(place, size, K: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr):
    """Return the first place that a query sees, and the place after the last."""
    group = place // STRIDE * STRIDE
    if CAUSAL:
        leader = tl.minimum(group + (STRIDE - 1), size - 1)
        start = tl.maximum(leader - (K - 1), 0)
        stop = place + 1
    else:
        leader = tl.minimum(group + STRIDE // 2, size - 1)
        start = tl.maximum(tl.minimum(leader - K // 2, size - K), 0)
        stop = tl.minimum(start + K, size)
    return start, stop


@triton.jit
def _windows(place, size, K: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr):
    start0, stop0 = _window(place[0], size[0], K[0], STRIDE[0], CAUSAL[0])
    start1, stop1 = _window(place[1], size[1], K[1], STRIDE[1], CAUSAL[1])
    start2, stop2 = _window(place[2], size[2], K[2], STRIDE[2], CAUSAL[2])
    return (start0, start1, start2), (stop0, stop1, stop2)


@triton.jit
def _keys_of(first, last, size, K: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr):
    """Return the first place and the extent of the box of keys that the queries from first to last see."""
    start, _ = _windows(first, size, K, STRIDE, CAUSAL)
    _, stop = _windows(last, size, K, STRIDE, CAUSAL)
    return start, (stop[0] - start[0], stop[1] - start[1], stop[2] - start[2])


@triton.jit
def _queries_along(first, last, size, K: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr):
    if CAUSAL:
        start = first
        stop = last + K
    else:
        start = tl.where(first < K, 0, first - (K - 1) // 2 - STRIDE // 2)
        stop = tl.where(last >= size - K, size, last + K // 2 + STRIDE - STRIDE // 2)
    start = tl.maximum(start, 0)
    return start, tl.minimum(stop, size) - start


@triton.jit
def _queries_of(first, last, size, K: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr):
    """Return the first place and the extent of a box that holds all queries that see the keys from first to last."""
    start0, extent0 = _queries_along(first[0], last[0], size[0], K[0], STRIDE[0], CAUSAL[0])
    start1, extent1 = _queries_along(first[1], last[1], size[1], K[1], STRIDE[1], CAUSAL[1])
    start2, extent2 = _queries_along(first[2], last[2], size[2], K[2], STRIDE[2], CAUSAL[2])
    return (start0, start1, start2), (extent0, extent1, extent2)


@triton.jit
def _places(index, first, extent):
    """Return the places, along each axis, of numbered members of a box."""
    return (
        first[0] + index // (extent[1] * extent[2]),
        first[1] + index // extent[2] % extent[1],
        first[2] + index % extent[2],
    )


@triton.jit
def _exist(place, size):
    return (place[0] < size[0]) & (place[1] < size[1]) & (place[2] < size[2])


@triton.jit
def _tokens(place, residue, lengths, DILATION: tl.constexpr):
    i = residue[0] + place[0] * DILATION[0]
    j = residue[1] + place[1] * DILATION[1]
    k = residue[2] + place[2] * DILATION[2]
    return ((i * lengths[1] + j) * lengths[2] + k).to(tl.int64)


@triton.jit
def _row(place, K: tl.constexpr):
    """Number places so that the bias of two tokens lies at the difference of their numbers, up to a constant."""
    return (place[0] * (2 * K[1] - 1) + place[1]) * (2 * K[2] - 1) + place[2]


@triton.jit
def _within(key, start, stop, KEYS_DOWN: tl.constexpr):
    if KEYS_DOWN:
        inside = (key[:, None] >= start[None, :]) & (key[:, None] < stop[None, :])
    else:
        inside = (key[None, :] >= start[:, None]) & (key[None, :] < stop[:, None])
    return inside


@triton.jit
def _allowed(key, start, stop, RANK: tl.constexpr, KEYS_DOWN: tl.constexpr):
    """Say which keys (rows if KEYS_DOWN, else columns) lie in the windows of which queries."""
    allowed = _within(key[2], start[2], stop[2], KEYS_DOWN)
    if RANK > 1:
        allowed &= _within(key[1], start[1], stop[1], KEYS_DOWN)
    if RANK > 2:
        allowed &= _within(key[0], start[0], stop[0], KEYS_DOWN)
    return allowed


@triton.jit
def _load(pointer, strides, batch, head, token, exist, D: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr):
    """Load the rows (tokens, P) of one head, with zeros where there is none."""
    column = tl.arange(0, P)
    offset = batch * strides[0] + token * strides[1] + head * strides[2]
    x = tl.load(pointer + offset[:, None] + column, mask=exist[:, None] & (column < D), other=0.0)
    if WIDE:
        x = x.to(tl.float32)
    return x


@triton.jit
def _store(pointer, x, row, exist, D: tl.constexpr, P: tl.constexpr):
    column = tl.arange(0, P)
    tl.store(pointer + row[:, None] * D + column, x, mask=exist[:, None] & (column < D))


@triton.jit
def _dot(a, b):
    """Multiply; what was computed in float32 is rounded to what it meets, for tensor cores."""
    return tl.dot(a.to(b.dtype), b, input_precision="ieee")


@triton.jit
def _forward_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, mask_ptr, out_ptr, lse_ptr,
    q_strides, k_strides, v_strides, lengths, T, H, scale,
    K: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr, TILE: tl.constexpr,
    RANK: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr, WIDE: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, P: tl.constexpr, PV: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    batch, head, residue, size, first, last = _locate(lengths, H, DILATION, TILE)
    query = _places(tl.arange(0, M), first, TILE)
    exist = _exist(query, size)
    token = _tokens(query, residue, lengths, DILATION)
    start, stop = _windows(query, size, K, STRIDE, CAUSAL)
    q = _load(q_ptr, q_strides, batch, head, token, exist, D, P, WIDE)
    best = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, PV), tl.float32)
    low, extent = _keys_of(first, last, size, K, STRIDE, CAUSAL)
    count = extent[0] * extent[1] * extent[2]
    for block in range(0, count, N):
        index = block + tl.arange(0, N)
        key = _places(index, low, extent)
        key_token = _tokens(key, residue, lengths, DILATION)
        valid = index < count
        if HAS_MASK:
            valid &= tl.load(mask_ptr + batch * T + key_token, mask=valid, other=0) != 0
        k = _load(k_ptr, k_strides, batch, head, key_token, valid, D, P, WIDE)
        v = _load(v_ptr, v_strides, batch, head, key_token, valid, DV, PV, WIDE)
        allowed = _allowed(key, start, stop, RANK, False) & valid[None, :]
        logits = _dot(q, tl.trans(k)) * (scale * _LOG2_E)
        if HAS_BIAS:
            row = _row(key, K)[None, :] - _row(query, K)[:, None] + _row((K[0] - 1, K[1] - 1, K[2] - 1), K)
            table = bias_ptr + head * ((2 * K[0] - 1) * (2 * K[1] - 1) * (2 * K[2] - 1))
            logits += tl.load(table + row, mask=allowed, other=0.0).to(tl.float32) * _LOG2_E
        logits = tl.where(allowed, logits, float("-inf"))
        higher = tl.maximum(best, tl.max(logits, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)  # a query that has met no key yet
        weights = tl.exp2(logits - safe[:, None])
        rescale = tl.exp2(best - safe)
        total = total * rescale + tl.sum(weights, 1)
        out = out * rescale[:, None] + _dot(weights, v)
        best = higher
    nobody = total == 0.0
    out = out / tl.where(nobody, 1.0, total)[:, None]
    _store(out_ptr, out, (batch * T + token) * H + head, exist, DV, PV)
    lse = tl.where(nobody, float("inf"), best + tl.log2(tl.where(nobody, 1.0, total)))
    tl.store(lse_ptr + (batch * H + head) * T + token, lse, mask=exist)


@triton.jit
def _query_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, mask_ptr, out_ptr, lse_ptr, dout_ptr, delta_ptr, dq_ptr, dbias_ptr,
    q_strides, k_strides, v_strides, out_strides, lengths, T, H, scale,
    K: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr, TILE: tl.constexpr,
    RANK: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr, WIDE: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, P: tl.constexpr, PV: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    COPIES: tl.constexpr,
):  # fmt: skip
    batch, head, residue, size, first, last = _locate(lengths, H, DILATION, TILE)
    query = _places(tl.arange(0, M), first, TILE)
    exist = _exist(query, size)
    token = _tokens(query, residue, lengths, DILATION)
    start, stop = _windows(query, size, K, STRIDE, CAUSAL)
    q = _load(q_ptr, q_strides, batch, head, token, exist, D, P, WIDE)
    dout = _load(dout_ptr, out_strides, batch, head, token, exist, DV, PV, WIDE)
    out = _load(out_ptr, out_strides, batch, head, token, exist, DV, PV, WIDE)
    delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1)
    place_of_stats = (batch * H + head) * T + token
    tl.store(delta_ptr + place_of_stats, delta, mask=exist)
    lse = tl.load(lse_ptr + place_of_stats, mask=exist, other=float("inf"))
    dq = tl.zeros((M, P), tl.float32)
    low, extent = _keys_of(first, last, size, K, STRIDE, CAUSAL)
    count = extent[0] * extent[1] * extent[2]
    for block in range(0, count, N):
        index = block + tl.arange(0, N)
        key = _places(index, low, extent)
        key_token = _tokens(key, residue, lengths, DILATION)
        valid = index < count
        if HAS_MASK:
            valid &= tl.load(mask_ptr + batch * T + key_token, mask=valid, other=0) != 0
        k = _load(k_ptr, k_strides, batch, head, key_token, valid, D, P, WIDE)
        v = _load(v_ptr, v_strides, batch, head, key_token, valid, DV, PV, WIDE)
        allowed = _allowed(key, start, stop, RANK, False) & valid[None, :] & exist[:, None]
        logits = _dot(q, tl.trans(k)) * (scale * _LOG2_E)
        if HAS_BIAS:
            row = _row(key, K)[None, :] - _row(query, K)[:, None] + _row((K[0] - 1, K[1] - 1, K[2] - 1), K)
            entries = (2 * K[0] - 1) * (2 * K[1] - 1) * (2 * K[2] - 1)
            logits += tl.load(bias_ptr + head * entries + row, mask=allowed, other=0.0).to(tl.float32) * _LOG2_E
        weights = tl.where(allowed, tl.exp2(logits - lse[:, None]), 0.0)
        dlogits = weights * (_dot(dout, tl.trans(v)) - delta[:, None])
        if HAS_BIAS:
            copy = tl.program_id(0) % COPIES * H + head
            tl.atomic_add(dbias_ptr + copy * entries + row, dlogits, mask=allowed, sem="relaxed")
        dq += _dot(dlogits, k)
    _store(dq_ptr, dq * scale, (batch * T + token) * H + head, exist, D, P)


@triton.jit
def _key_kernel(
    q_ptr, k_ptr, v_ptr, bias_ptr, mask_ptr, lse_ptr, dout_ptr, delta_ptr, dk_ptr, dv_ptr,
    q_strides, k_strides, v_strides, out_strides, lengths, T, H, scale,
    K: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr, CAUSAL: tl.constexpr, TILE: tl.constexpr,
    RANK: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr, WIDE: tl.constexpr,
    D: tl.constexpr, DV: tl.constexpr, P: tl.constexpr, PV: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    batch, head, residue, size, first, last = _locate(lengths, H, DILATION, TILE)
    key = _places(tl.arange(0, M), first, TILE)
    exist = _exist(key, size)
    token = _tokens(key, residue, lengths, DILATION)
    valid = exist
    if HAS_MASK:
        valid &= tl.load(mask_ptr + batch * T + token, mask=exist, other=0) != 0
    k = _load(k_ptr, k_strides, batch, head, token, valid, D, P, WIDE)
    v = _load(v_ptr, v_strides, batch, head, token, valid, DV, PV, WIDE)
    dk = tl.zeros((M, P), tl.float32)
    dv = tl.zeros((M, PV), tl.float32)
    low, extent = _queries_of(first, last, size, K, STRIDE, CAUSAL)
    count = tl.maximum(extent[0], 0) * tl.maximum(extent[1], 0) * tl.maximum(extent[2], 0)
    for block in range(0, count, N):
        index = block + tl.arange(0, N)
        query = _places(index, low, extent)
        query_token = _tokens(query, residue, lengths, DILATION)
        present = index < count
        start, stop = _windows(query, size, K, STRIDE, CAUSAL)
        q = _load(q_ptr, q_strides, batch, head, query_token, present, D, P, WIDE)
        dout = _load(dout_ptr, out_strides, batch, head, query_token, present, DV, PV, WIDE)
        place_of_stats = (batch * H + head) * T + query_token
        lse = tl.load(lse_ptr + place_of_stats, mask=present, other=float("inf"))
        delta = tl.load(delta_ptr + place_of_stats, mask=present, other=0.0)
        allowed = _allowed(key, start, stop, RANK, True) & valid[:, None] & present[None, :]
        logits = _dot(k, tl.trans(q)) * (scale * _LOG2_E)
        if HAS_BIAS:
            row = _row(key, K)[:, None] - _row(query, K)[None, :] + _row((K[0] - 1, K[1] - 1, K[2] - 1), K)
            table = bias_ptr + head * ((2 * K[0] - 1) * (2 * K[1] - 1) * (2 * K[2] - 1))
            logits += tl.load(table + row, mask=allowed, other=0.0).to(tl.float32) * _LOG2_E
        weights = tl.where(allowed, tl.exp2(logits - lse[None, :]), 0.0)
        dv += _dot(weights, dout)
        dlogits = weights * (_dot(v, tl.trans(dout)) - delta[None, :])
        dk += _dot(dlogits, q)
    row_of_key = (batch * T + token) * H + head
    _store(dk_ptr, dk * scale, row_of_key, exist, D, P)
    _store(dv_ptr, dv, row_of_key, exist, DV, PV)


def forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None, windows: tuple[Window, ...], scale: float
) -> tuple[Tensor, Tensor]:
    """Return the outputs (B, *grid, H, DV) in the dtype of v, and the lse (B, H, T), infinite where nobody is seen."""
    q, k, v = map(_rows, (q, k, v))
    out = v.new_empty(v.shape)
    lse = q.new_empty(q.shape[0], q.shape[-2], prod(q.shape[1:-2]), dtype=torch.float32)
    programs, options = _plan(q, v, bias, mask, windows)
    if out.numel():
        _forward_kernel[programs](
            q, k, v, _dense(bias), _bytes(mask), out, lse, _strides(q), _strides(k), _strides(v), scale=scale, **options
        )
    return out, lse


def backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None, out: Tensor, lse: Tensor,
    windows: tuple[Window, ...], scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of q, k and v in their dtypes, and of the bias in float32, empty where there is none."""
    q, k, v, dout = map(_rows, (q, k, v, dout.contiguous()))
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    table = q.new_zeros(0 if bias is None else _BIAS_COPIES, *(() if bias is None else bias.shape), dtype=torch.float32)
    delta = torch.empty_like(lse)
    programs, options = _plan(q, v, bias, mask, windows)
    if out.numel():
        strides = (_strides(q), _strides(k), _strides(v), _strides(out))
        inputs = (q, k, v, _dense(bias), _bytes(mask))
        _query_kernel[programs](
            *inputs, out, lse, dout, delta, dq, table, *strides, scale=scale, COPIES=_BIAS_COPIES, **options
        )
        _key_kernel[programs](*inputs, lse, dout, delta, dk, dv, *strides, scale=scale, **options)
    return dq, dk, dv, table.sum(0)


def _plan(
    q: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None, windows: tuple[Window, ...]
) -> tuple[tuple[int], dict]:
    """Return the number of programs, and the arguments that all kernels share."""
    grid = q.shape[1:-2]
    rank, missing = len(grid), 3 - len(grid)
    grid = (1,) * missing + tuple(grid)
    axes = (Window(1),) * missing + windows
    longest = [triton.cdiv(n, window.dilation) for n, window in zip(grid, axes, strict=True)]
    (B, H, D), DV = (q.shape[0], *q.shape[-2:]), v.shape[-1]
    P, PV = (max(triton.next_power_of_2(size), 16) for size in (D, DV))
    large, single = P + PV > 128, q.dtype == torch.float32  # what decides whether a tile fits the registers
    tile = _tile(longest, 32 if large and single else 64)
    tiles = prod(
        min(n, window.dilation) * triton.cdiv(size, along)
        for n, window, size, along in zip(grid, axes, longest, tile, strict=True)
    )
    wide = single or triton.knobs.runtime.interpret  # whose products of bfloat16 are wrong
    return (tiles * B * H,), {
        "lengths": grid, "T": prod(grid), "H": H,
        "K": tuple(window.size for window in axes),
        "DILATION": tuple(window.dilation for window in axes),
        "STRIDE": tuple(window.stride for window in axes),
        "CAUSAL": tuple(window.causal for window in axes),
        "TILE": tile, "RANK": rank, "HAS_BIAS": bias is not None, "HAS_MASK": mask is not None, "WIDE": wide,
        "D": D, "DV": DV, "P": P, "PV": PV, "M": prod(tile), "N": 32 if wide or P + PV > 256 else 64,
        "num_warps": 8 if large else 4, "num_stages": 1 if wide else 2,
    }  # fmt: skip


def _tile(longest: list[int], most: int) -> tuple[int, ...]:
    """Return powers of two, as cubic as the axes let them be, whose product is `most`; on small grids 16 at least."""
    tile = [1, 1, 1]
    while prod(tile) < most:
        open_axes = [i for i in range(3) if tile[i] < longest[i]]
        if not open_axes and prod(tile) >= 16:
            break
        axis = min(open_axes or [2], key=lambda i: (tile[i], -i))
        tile[axis] *= 2
    return tuple(tile)


def _rows(x: Tensor) -> Tensor:
    """Return (B, *grid, H, D) so that one stride leads from token to token, copied if need be."""
    last = x.ndim - 3
    walkable = all(x.stride(i) == x.stride(i + 1) * x.shape[i + 1] for i in range(1, last))
    return x if walkable and x.stride(-1) == 1 else x.contiguous()


def _strides(x: Tensor) -> tuple[int, int, int]:
    """Return the strides of samples, tokens and heads."""
    return x.stride(0), x.stride(-3), x.stride(-2)


def _dense(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.contiguous()


def _bytes(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.contiguous().view(torch.uint8)
