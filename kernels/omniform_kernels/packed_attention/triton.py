"""Packed attention on a GPU: one program a tile of queries (or of keys) and head, over the tiles of its own sequence.

    T queries   S keys   m queries and n keys of one sequence   H heads   K key heads, of G = H / K heads each
    D head size   P = D rounded up to a power of two   M queries and N keys of a tile

The tiles of all sequences form one list, so that a batch of ragged sequences launches no more programs than it has
work. Softmax is online, in powers of two: scores come multiplied by log2(e), a row keeps its running maximum and sum,
and the backward pass computes the weights again from L, the base-2 logarithm of the denominator. One program alone
writes each gradient: no atomic additions.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["backward", "forward"]

_LOG2E = math.log2(math.e)


@triton.jit
def _bounds(offsets_ptr, key_offsets_ptr, sequence):
    """Return where queries and keys of a sequence start, and how many there are."""
    start = tl.load(offsets_ptr + sequence).to(tl.int64)
    key_start = tl.load(key_offsets_ptr + sequence).to(tl.int64)
    m = (tl.load(offsets_ptr + sequence + 1) - start).to(tl.int32)
    n = (tl.load(key_offsets_ptr + sequence + 1) - key_start).to(tl.int32)
    return start, key_start, m, n


@triton.jit
def _load(ptr, start, stride, rows, count, D: tl.constexpr, P: tl.constexpr, WHOLE: tl.constexpr = False):
    """Return a tile (rows, P) of one head's vectors; zeros beyond the sequence, unless WHOLE, and the head's size."""
    channels = tl.arange(0, P)
    places = ptr + (start + rows)[:, None] * stride + channels[None]
    if WHOLE and D == P:
        return tl.load(places)
    there = (channels < D)[None]
    if not WHOLE:
        there = there & (rows < count)[:, None]
    return tl.load(places, mask=there, other=0.0)


@triton.jit
def _store(ptr, start, stride, rows, count, tile, D: tl.constexpr, P: tl.constexpr):
    channels = tl.arange(0, P)
    places = ptr + (start + rows)[:, None] * stride + channels[None]
    tl.store(places, tile, mask=(rows < count)[:, None] & (channels < D)[None])


@triton.jit
def _score(
    products, scale, slope, distance, columns, n,
    CAUSAL: tl.constexpr, SLOPES: tl.constexpr, WHOLE: tl.constexpr = False,
):  # fmt: skip
    """Return scores in base 2; minus infinity where a key is not seen, which a WHOLE tile does not have."""
    scores = products * scale
    if SLOPES:
        scores -= slope * tl.abs(distance).to(tl.float32)
    if not WHOLE:
        visible = columns < n
        if CAUSAL:
            visible = visible & (distance >= 0)
        scores = tl.where(visible, scores, float("-inf"))
    return scores


@triton.jit
def _ends(first, m, n, M: tl.constexpr, N: tl.constexpr, CAUSAL: tl.constexpr):
    """Return up to which key all queries of a tile see all keys of whole tiles, and up to which any sees any."""
    whole, end = n, n
    if CAUSAL:
        whole = tl.maximum(tl.minimum(n, first + 1 + n - m), 0)
        end = tl.minimum(n, first + M + n - m)
    return whole // N * N, end


@triton.jit
def _attend(
    q, k_ptr, v_ptr, maximum, total, acc, begin, end, rows, key_start, m, n, stride_k, stride_v, scale, slope,
    D: tl.constexpr, P: tl.constexpr, N: tl.constexpr, CAUSAL: tl.constexpr, SLOPES: tl.constexpr,
    PRECISION: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Carry the softmax of a tile of queries on over the keys from `begin` to `end`."""
    for j in range(begin, end, N):
        columns = j + tl.arange(0, N)
        k = _load(k_ptr, key_start, stride_k, columns, n, D, P, WHOLE)
        v = _load(v_ptr, key_start, stride_v, columns, n, D, P, WHOLE)
        distance = rows[:, None] + (n - m) - columns[None]
        products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        scores = _score(products, scale, slope, distance, columns[None], n, CAUSAL, SLOPES, WHOLE)
        new = tl.maximum(maximum, tl.max(scores, 1))
        finite = tl.where(new == float("-inf"), 0.0, new)  # no key seen yet
        weights = tl.exp2(scores - finite[:, None])
        decay = tl.exp2(maximum - finite)
        total = total * decay + tl.sum(weights, 1)
        acc = tl.dot(weights.to(v.dtype), v, acc * decay[:, None], input_precision=PRECISION)
        maximum = new
    return maximum, total, acc


@triton.jit
def _forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, denominator_ptr, offsets_ptr, key_offsets_ptr, slopes_ptr, sequences_ptr, blocks_ptr,
    T, sequences, stride_q, stride_qh, stride_k, stride_kh, stride_v, stride_vh, scale,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, P: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    CAUSAL: tl.constexpr, SLOPES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tile, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    sequence = tl.load(sequences_ptr + tile)
    if sequence >= sequences:
        return
    start, key_start, m, n = _bounds(offsets_ptr, key_offsets_ptr, sequence)
    first = tl.load(blocks_ptr + tile).to(tl.int32) * M
    rows = first + tl.arange(0, M)
    q = _load(q_ptr + head * stride_qh, start, stride_q, rows, m, D, P)
    slope = 0.0
    if SLOPES:
        slope = tl.load(slopes_ptr + head)
    maximum = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    acc = tl.zeros((M, P), tl.float32)
    k_start, v_start = k_ptr + head // G * stride_kh, v_ptr + head // G * stride_vh
    whole, end = _ends(first, m, n, M, N, CAUSAL)
    maximum, total, acc = _attend(
        q, k_start, v_start, maximum, total, acc, 0, whole, rows, key_start, m, n, stride_k, stride_v, scale, slope,
        D, P, N, CAUSAL, SLOPES, PRECISION, True,
    )  # fmt: skip
    maximum, total, acc = _attend(
        q, k_start, v_start, maximum, total, acc, whole, end, rows, key_start, m, n, stride_k, stride_v, scale, slope,
        D, P, N, CAUSAL, SLOPES, PRECISION, False,
    )  # fmt: skip
    seen = total > 0
    total = tl.where(seen, total, 1.0)
    _store(out_ptr + head * D, start, H * D, rows, m, acc / total[:, None], D, P)
    maximum = tl.where(seen, maximum, 0.0)
    tl.store(denominator_ptr + head * T + start + rows, maximum + tl.log2(total), mask=rows < m)


@triton.jit
def _descend(
    q, dout, k_ptr, v_ptr, denominator, delta, dq, begin, end, rows, key_start, m, n, stride_k, stride_v, scale, slope,
    D: tl.constexpr, P: tl.constexpr, N: tl.constexpr, CAUSAL: tl.constexpr, SLOPES: tl.constexpr,
    PRECISION: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Add to the gradient of a tile of queries what the keys from `begin` to `end` give."""
    for j in range(begin, end, N):
        columns = j + tl.arange(0, N)
        k = _load(k_ptr, key_start, stride_k, columns, n, D, P, WHOLE)
        v = _load(v_ptr, key_start, stride_v, columns, n, D, P, WHOLE)
        distance = rows[:, None] + (n - m) - columns[None]
        products = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        scores = _score(products, scale, slope, distance, columns[None], n, CAUSAL, SLOPES, WHOLE)
        weights = tl.exp2(scores - denominator[:, None])
        dweights = tl.dot(dout, tl.trans(v), input_precision=PRECISION)
        dscores = weights * (dweights - delta[:, None])
        dq = tl.dot(dscores.to(k.dtype), k, dq, input_precision=PRECISION)
    return dq


@triton.jit
def _query_kernel(
    dout_ptr, q_ptr, k_ptr, v_ptr, out_ptr, denominator_ptr, dq_ptr, delta_ptr,
    offsets_ptr, key_offsets_ptr, slopes_ptr, sequences_ptr, blocks_ptr,
    T, sequences, stride_q, stride_qh, stride_k, stride_kh, stride_v, stride_vh, scale, factor,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, P: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    CAUSAL: tl.constexpr, SLOPES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradient of a tile of queries, and delta = sum_d dout out for the gradients of the keys."""
    tile, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    sequence = tl.load(sequences_ptr + tile)
    if sequence >= sequences:
        return
    start, key_start, m, n = _bounds(offsets_ptr, key_offsets_ptr, sequence)
    first = tl.load(blocks_ptr + tile).to(tl.int32) * M
    rows = first + tl.arange(0, M)
    q = _load(q_ptr + head * stride_qh, start, stride_q, rows, m, D, P)
    dout = _load(dout_ptr + head * D, start, H * D, rows, m, D, P)
    out = _load(out_ptr + head * D, start, H * D, rows, m, D, P)
    delta = tl.sum(dout.to(tl.float32) * out.to(tl.float32), 1)
    line = head * T + start + rows
    tl.store(delta_ptr + line, delta, mask=rows < m)
    denominator = tl.load(denominator_ptr + line, mask=rows < m, other=0.0)
    slope = 0.0
    if SLOPES:
        slope = tl.load(slopes_ptr + head)
    dq = tl.zeros((M, P), tl.float32)
    k_start, v_start = k_ptr + head // G * stride_kh, v_ptr + head // G * stride_vh
    whole, end = _ends(first, m, n, M, N, CAUSAL)
    dq = _descend(
        q, dout, k_start, v_start, denominator, delta, dq, 0, whole, rows, key_start, m, n, stride_k, stride_v, scale,
        slope, D, P, N, CAUSAL, SLOPES, PRECISION, True,
    )  # fmt: skip
    dq = _descend(
        q, dout, k_start, v_start, denominator, delta, dq, whole, end, rows, key_start, m, n, stride_k, stride_v, scale,
        slope, D, P, N, CAUSAL, SLOPES, PRECISION, False,
    )  # fmt: skip
    _store(dq_ptr + head * D, start, H * D, rows, m, dq * factor, D, P)


@triton.jit
def _key_kernel(
    dout_ptr, q_ptr, k_ptr, v_ptr, denominator_ptr, delta_ptr, dk_ptr, dv_ptr,
    offsets_ptr, key_offsets_ptr, slopes_ptr, sequences_ptr, blocks_ptr,
    T, sequences, stride_q, stride_qh, stride_k, stride_kh, stride_v, stride_vh, scale, factor,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, P: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    CAUSAL: tl.constexpr, SLOPES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a tile of keys and values, summed over the heads that share them."""
    tile, key_head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    sequence = tl.load(sequences_ptr + tile)
    if sequence >= sequences:
        return
    start, key_start, m, n = _bounds(offsets_ptr, key_offsets_ptr, sequence)
    first = tl.load(blocks_ptr + tile).to(tl.int32) * N
    columns = first + tl.arange(0, N)
    k = _load(k_ptr + key_head * stride_kh, key_start, stride_k, columns, n, D, P)
    v = _load(v_ptr + key_head * stride_vh, key_start, stride_v, columns, n, D, P)
    dk = tl.zeros((N, P), tl.float32)
    dv = tl.zeros((N, P), tl.float32)
    begin = 0
    if CAUSAL:
        begin = tl.maximum(first - (n - m), 0) // M * M
    for member in range(G):
        head = key_head * G + member
        slope = 0.0
        if SLOPES:
            slope = tl.load(slopes_ptr + head)
        for i in range(begin, m, M):
            rows = i + tl.arange(0, M)
            q = _load(q_ptr + head * stride_qh, start, stride_q, rows, m, D, P)
            dout = _load(dout_ptr + head * D, start, H * D, rows, m, D, P)
            line = head * T + start + rows
            denominator = tl.load(denominator_ptr + line, mask=rows < m, other=float("inf"))  # no weight there
            delta = tl.load(delta_ptr + line, mask=rows < m, other=0.0)
            distance = rows[None] + (n - m) - columns[:, None]
            products = tl.dot(k, tl.trans(q), input_precision=PRECISION)
            scores = _score(products, scale, slope, distance, columns[:, None], n, CAUSAL, SLOPES)
            weights = tl.exp2(scores - denominator[None])  # (N, M)
            dv = tl.dot(weights.to(dout.dtype), dout, dv, input_precision=PRECISION)
            dweights = tl.dot(v, tl.trans(dout), input_precision=PRECISION)
            dscores = weights * (dweights - delta[None])
            dk = tl.dot(dscores.to(q.dtype), q, dk, input_precision=PRECISION)
    _store(dk_ptr + key_head * D, key_start, H // G * D, columns, n, dk * factor, D, P)
    _store(dv_ptr + key_head * D, key_start, H // G * D, columns, n, dv, D, P)


def forward(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, key_offsets: Tensor, slopes: Tensor | None, causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the outputs (T, H, D) and the base-2 logarithms of the denominators (H, T)."""
    dtype = q.dtype
    q, k, v = _readable(q, k, v)
    T, H, D = q.shape
    out = q.new_empty(T, H, D)
    denominators = q.new_empty(H, T, dtype=torch.float32)
    if T:
        M, N, warps, stages = _tile_sizes(q)
        sequences, blocks = _tiles(offsets, T, M)
        _forward_kernel[(len(sequences), H)](
            q, k, v, out, denominators, offsets, key_offsets, _base2(slopes), sequences, blocks, T, len(offsets) - 1,
            *_strides(q, k, v), scale * _LOG2E, **_constants(q, k, slopes, causal), M=M, N=N,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
    return out.to(dtype), denominators


def backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, denominators: Tensor, offsets: Tensor,
    key_offsets: Tensor, slopes: Tensor | None, causal: bool, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of q (T, H, D), k and v (S, K, D); `dout` and `out` are contiguous."""
    dtype = q.dtype
    dout, q, k, v, out = _readable(dout, q, k, v, out)
    dq, dk, dv = (tensor.new_empty(tensor.shape) for tensor in (q, k, v))
    delta = torch.empty_like(denominators)
    T, S, H, K = len(q), len(k), q.shape[1], k.shape[1]
    constants = _constants(q, k, slopes, causal)
    long, short, warps, stages = _gradient_tile_sizes(q)
    numbers = (T, len(offsets) - 1, *_strides(q, k, v), scale * _LOG2E, scale)
    slopes = _base2(slopes)
    if T:
        sequences, blocks = _tiles(offsets, T, long)
        _query_kernel[(len(sequences), H)](
            dout, q, k, v, out, denominators, dq, delta, offsets, key_offsets, slopes, sequences, blocks, *numbers,
            **constants, M=long, N=short, num_warps=warps, num_stages=stages,
        )  # fmt: skip
    if S:
        sequences, blocks = _tiles(key_offsets, S, long)
        _key_kernel[(len(sequences), K)](
            dout, q, k, v, denominators, delta, dk, dv, offsets, key_offsets, slopes, sequences, blocks, *numbers,
            **constants, M=short, N=long, num_warps=warps, num_stages=stages,
        )  # fmt: skip
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)


def _tiles(offsets: Tensor, tokens: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the sequence of every tile and its place therein; a sequence too many marks tiles that are none.

    How many tiles there are is known to the GPU alone, which nothing here waits for: there is room for the most.
    """
    counts = (offsets.diff() + size - 1) // size
    ends = counts.cumsum(0)
    tile = torch.arange(tokens // size + len(counts), device=offsets.device)
    sequences = torch.searchsorted(ends, tile, right=True)
    starts = torch.cat([ends - counts, ends[-1:]])
    return sequences, tile - starts[sequences]


def _strides(q: Tensor, k: Tensor, v: Tensor) -> tuple[int, ...]:
    return tuple(stride for tensor in (q, k, v) for stride in tensor.stride()[:2])


def _base2(slopes: Tensor | None) -> Tensor | None:
    return None if slopes is None else slopes.float() * _LOG2E


def _constants(q: Tensor, k: Tensor, slopes: Tensor | None, causal: bool) -> dict:
    H, D = q.shape[1:]
    return {
        "H": H, "G": H // k.shape[1], "D": D, "P": max(triton.next_power_of_2(D), 16), "CAUSAL": causal,
        "SLOPES": slopes is not None, "PRECISION": "ieee" if q.dtype == torch.float32 else "tf32",
    }  # fmt: skip


def _tile_sizes(q: Tensor) -> tuple[int, int, int, int]:
    """Return M, N, warps and stages of the forward pass; shared memory holds `stages` tiles of keys and values."""
    wide = q.shape[-1] > 64
    if q.dtype == torch.float32 or q.shape[-1] > 128:
        return 64, 32, 4, 2
    return 128, 64, 8 if wide else 4, 3


def _gradient_tile_sizes(q: Tensor) -> tuple[int, int, int, int]:
    """Return the sizes of the tile that a program keeps and of those it reads, warps and stages."""
    if q.dtype == torch.float32 or q.shape[-1] > 128:
        return 64, 32, 4, 1 if q.shape[-1] > 64 else 2
    return 128, 32, 8 if q.shape[-1] > 64 else 4, 3


def _readable(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Make channels adjacent; the interpreter, whose products of bfloat16 are wrong, gets float32."""
    dtype = tensors[0].dtype
    if dtype == torch.bfloat16 and triton.knobs.runtime.interpret:
        dtype = torch.float32
    return tuple((t if t.stride(-1) == 1 else t.contiguous()).to(dtype) for t in tensors)
