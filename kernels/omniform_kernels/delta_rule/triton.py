"""The delta rule on a GPU, on chunks: the notation and the equations are those of cpu.py.

    B batch   L tokens   H heads   Dk, Dv head sizes   C tokens in a chunk   N chunks of all sequences
    BK, BV = a block of key and value channels; blocks over the whole of Dk are Dk rounded up to a power of two

Forward, `_prepare` finds T, W and U0 of every chunk, `_carry` takes the state from chunk to chunk, and `_read` gives
the outputs. Backward, the first two run again (T was kept), `_local` starts the gradient of U, `_carry_back` takes the
gradient of the state from chunk to chunk, and `_differentiate` gives all others. States stay in registers, in float32;
what goes through memory is in the dtype of q.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["backward", "forward", "kept_shape", "step"]

_CHUNK = 64


@triton.jit
def _chunk(index, L, starts_ptr, stops_ptr, PACKED: tl.constexpr, C: tl.constexpr):
    """Return the tokens of a chunk (C,) and which of them it has."""
    if PACKED:
        start = tl.load(starts_ptr + index)
        stop = tl.load(stops_ptr + index)
    else:
        per_sequence = tl.cdiv(L, C)
        sequence = index.to(tl.int64) // per_sequence
        start = sequence * L + index % per_sequence * C
        stop = tl.minimum(start + C, (sequence + 1) * L)
    tokens = start + tl.arange(0, C)
    return tokens, tokens < stop


@triton.jit
def _sequence(index, L, offsets_ptr, firsts_ptr, PACKED: tl.constexpr, C: tl.constexpr):
    """Return a sequence's first token, the end of its tokens, and its first chunk."""
    if PACKED:
        begin = tl.load(offsets_ptr + index)
        end = tl.load(offsets_ptr + index + 1)
        first = tl.load(firsts_ptr + index)
    else:
        begin = index.to(tl.int64) * L
        end = begin + L
        first = index.to(tl.int64) * tl.cdiv(L, C)
    return begin, end, first


@triton.jit
def _load(ptr, rows, inside, stride, columns, width):
    """Load rows (., BD) of width channels, zeros outside."""
    mask = inside[:, None] & (columns < width)[None, :]
    return tl.load(ptr + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _store(ptr, value, rows, inside, stride, columns, width):
    mask = inside[:, None] & (columns < width)[None, :]
    tl.store(ptr + rows[:, None] * stride + columns[None, :], value.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def _decays(G, inside, C: tl.constexpr):
    """Return e^(G_i - G_j) for j <= i, else 0."""
    i = tl.arange(0, C)
    causal = (i[:, None] >= i[None, :]) & inside[:, None]
    return tl.exp(tl.where(causal, G[:, None] - G[None, :], float("-inf")))


@triton.jit
def _inverse(A, C: tl.constexpr, LEVELS: tl.constexpr, PRECISION: tl.constexpr):
    """Invert the identity plus what is below the diagonal of A, by blocks of twice the size each time.

    With T the inverse of the blocks on the diagonal, and A21 the ones below pairs of them, T - T A21 T is the next.
    """
    i = tl.arange(0, C)[:, None]
    j = tl.arange(0, C)[None, :]
    T = tl.where(i == j, 1.0, tl.where((i // 2 == j // 2) & (i > j), -A, 0.0))
    for level in tl.static_range(1, LEVELS):
        h = 1 << level
        below = (i // (2 * h) == j // (2 * h)) & (i % (2 * h) >= h) & (j % (2 * h) < h)
        step = tl.dot(tl.where(below, A, 0.0), T, input_precision=PRECISION)
        T -= tl.dot(T, step, input_precision=PRECISION)
    return T


@triton.jit
def _prepare_kernel(
    k_ptr, v_ptr, beta_ptr, log_decay_ptr, G_ptr, T_ptr, W_ptr, U0_ptr, starts_ptr, stops_ptr,
    L, H, Dk, Dv,
    PACKED: tl.constexpr, SOLVED: tl.constexpr, C: tl.constexpr, LEVELS: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    tokens, inside = _chunk(tl.program_id(0), L, starts_ptr, stops_ptr, PACKED, C)
    if PACKED and tl.sum(inside.to(tl.int32), 0) == 0:
        return
    rows = tokens * H + head
    columns = tl.arange(0, C)
    keys = tl.arange(0, BK)
    beta = tl.load(beta_ptr + rows, mask=inside, other=0.0)
    G = tl.cumsum(tl.load(log_decay_ptr + rows, mask=inside, other=0.0), 0)
    tl.store(G_ptr + rows, G, mask=inside)
    k = _load(k_ptr, rows, inside, Dk, keys, Dk)
    if SOLVED:
        T = _load(T_ptr, rows, inside, C, columns, C).to(DOT)
    else:
        A = tl.dot(k.to(DOT), tl.trans(k.to(DOT)), input_precision=PRECISION)
        T = _inverse(A * _decays(G, inside, C) * beta[:, None], C, LEVELS, PRECISION)
        _store(T_ptr, T, rows, inside, C, columns, C)
        T = T.to(DOT)
    scaled = (k * (beta * tl.exp(G))[:, None]).to(DOT)
    _store(W_ptr, tl.dot(T, scaled, input_precision=PRECISION), rows, inside, Dk, keys, Dk)
    for first in range(0, Dv, BV):
        values = first + tl.arange(0, BV)
        v = (_load(v_ptr, rows, inside, Dv, values, Dv) * beta[:, None]).to(DOT)
        _store(U0_ptr, tl.dot(T, v, input_precision=PRECISION), rows, inside, Dv, values, Dv)


@triton.jit
def _carry_kernel(
    k_ptr, G_ptr, W_ptr, U0_ptr, initial_ptr, U_ptr, states_ptr, final_ptr, offsets_ptr, firsts_ptr,
    L, H, Dk, Dv,
    PACKED: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    sequence = tl.program_id(1) // H
    head = tl.program_id(1) % H
    begin, end, index = _sequence(sequence, L, offsets_ptr, firsts_ptr, PACKED, C)
    keys = tl.arange(0, BK)
    values = tl.program_id(0) * BV + tl.arange(0, BV)
    place = tl.program_id(1).to(tl.int64) * Dk * Dv
    S = _load(initial_ptr + place, keys, keys < Dk, Dv, values, Dv).to(tl.float32)
    for start in range(begin, end, C):
        tokens = start + tl.arange(0, C)
        inside = tokens < end
        rows = tokens * H + head
        _store(states_ptr + (index * H + head) * Dk * Dv, S, keys, keys < Dk, Dv, values, Dv)
        G = tl.load(G_ptr + rows, mask=inside, other=0.0)
        last = tl.load(G_ptr + (tl.minimum(start + C, end) - 1) * H + head)
        W = _load(W_ptr, rows, inside, Dk, keys, Dk).to(DOT)
        U = _load(U0_ptr, rows, inside, Dv, values, Dv) - tl.dot(W, S.to(DOT), input_precision=PRECISION)
        _store(U_ptr, U, rows, inside, Dv, values, Dv)
        k = _load(k_ptr, rows, inside, Dk, keys, Dk) * tl.exp(last - G)[:, None]
        S = S * tl.exp(last) + tl.dot(tl.trans(k.to(DOT)), U.to(DOT), input_precision=PRECISION)
        index += 1
    _store(final_ptr + place, S, keys, keys < Dk, Dv, values, Dv)


@triton.jit
def _read_kernel(
    q_ptr, k_ptr, G_ptr, U_ptr, states_ptr, out_ptr, starts_ptr, stops_ptr,
    L, H, Dk, Dv, scale,
    PACKED: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(1).to(tl.int64)
    head = tl.program_id(2)
    tokens, inside = _chunk(tl.program_id(1), L, starts_ptr, stops_ptr, PACKED, C)
    if PACKED and tl.sum(inside.to(tl.int32), 0) == 0:
        return
    rows = tokens * H + head
    values = tl.program_id(0) * BV + tl.arange(0, BV)
    G = tl.load(G_ptr + rows, mask=inside, other=0.0)
    scores = tl.zeros((C, C), tl.float32)
    out = tl.zeros((C, BV), tl.float32)
    for first in range(0, Dk, BK):
        keys = first + tl.arange(0, BK)
        q = _load(q_ptr, rows, inside, Dk, keys, Dk).to(DOT)
        k = _load(k_ptr, rows, inside, Dk, keys, Dk).to(DOT)
        S = _load(states_ptr + (index * H + head) * Dk * Dv, keys, keys < Dk, Dv, values, Dv).to(DOT)
        scores += tl.dot(q, tl.trans(k), input_precision=PRECISION)
        out += tl.dot(q, S, input_precision=PRECISION)
    scores *= _decays(G, inside, C)
    U = _load(U_ptr, rows, inside, Dv, values, Dv).to(DOT)
    out = out * tl.exp(G)[:, None] + tl.dot(scores.to(DOT), U, input_precision=PRECISION)
    _store(out_ptr, out * scale, rows, inside, Dv, values, Dv)


@triton.jit
def _local_kernel(
    q_ptr, k_ptr, G_ptr, dout_ptr, dU_ptr, starts_ptr, stops_ptr,
    L, H, Dk, Dv, scale,
    PACKED: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(2)
    tokens, inside = _chunk(tl.program_id(1), L, starts_ptr, stops_ptr, PACKED, C)
    if PACKED and tl.sum(inside.to(tl.int32), 0) == 0:
        return
    rows = tokens * H + head
    values = tl.program_id(0) * BV + tl.arange(0, BV)
    G = tl.load(G_ptr + rows, mask=inside, other=0.0)
    scores = tl.zeros((C, C), tl.float32)
    for first in range(0, Dk, BK):
        keys = first + tl.arange(0, BK)
        q = _load(q_ptr, rows, inside, Dk, keys, Dk).to(DOT)
        k = _load(k_ptr, rows, inside, Dk, keys, Dk).to(DOT)
        scores += tl.dot(q, tl.trans(k), input_precision=PRECISION)
    scores *= _decays(G, inside, C) * scale
    dout = _load(dout_ptr, rows, inside, Dv, values, Dv).to(DOT)
    dU = tl.dot(tl.trans(scores.to(DOT)), dout, input_precision=PRECISION)
    _store(dU_ptr, dU, rows, inside, Dv, values, Dv)


@triton.jit
def _carry_back_kernel(
    q_ptr, k_ptr, G_ptr, W_ptr, dout_ptr, dfinal_ptr, dU_ptr, dstates_ptr, dinitial_ptr, offsets_ptr, firsts_ptr,
    L, H, Dk, Dv, scale,
    PACKED: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    sequence = tl.program_id(1) // H
    head = tl.program_id(1) % H
    begin, end, first = _sequence(sequence, L, offsets_ptr, firsts_ptr, PACKED, C)
    keys = tl.arange(0, BK)
    values = tl.program_id(0) * BV + tl.arange(0, BV)
    place = tl.program_id(1).to(tl.int64) * Dk * Dv
    dS = _load(dfinal_ptr + place, keys, keys < Dk, Dv, values, Dv).to(tl.float32)
    count = tl.cdiv(end - begin, C)
    for back in range(0, count):
        n = count - 1 - back
        start = begin + n * C
        tokens = start + tl.arange(0, C)
        inside = tokens < end
        rows = tokens * H + head
        _store(dstates_ptr + ((first + n) * H + head) * Dk * Dv, dS, keys, keys < Dk, Dv, values, Dv)
        G = tl.load(G_ptr + rows, mask=inside, other=0.0)
        last = tl.load(G_ptr + (tl.minimum(start + C, end) - 1) * H + head)
        k = (_load(k_ptr, rows, inside, Dk, keys, Dk) * tl.exp(last - G)[:, None]).to(DOT)
        dU = _load(dU_ptr, rows, inside, Dv, values, Dv) + tl.dot(k, dS.to(DOT), input_precision=PRECISION)
        _store(dU_ptr, dU, rows, inside, Dv, values, Dv)
        q = (_load(q_ptr, rows, inside, Dk, keys, Dk) * (scale * tl.exp(G))[:, None]).to(DOT)
        dout = _load(dout_ptr, rows, inside, Dv, values, Dv).to(DOT)
        W = _load(W_ptr, rows, inside, Dk, keys, Dk).to(DOT)
        dS = dS * tl.exp(last) + tl.dot(tl.trans(q), dout, input_precision=PRECISION)
        dS -= tl.dot(tl.trans(W), dU.to(DOT), input_precision=PRECISION)
    _store(dinitial_ptr + place, dS, keys, keys < Dk, Dv, values, Dv)


@triton.jit
def _differentiate_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, G_ptr, T_ptr, U_ptr, states_ptr, dout_ptr, dU_ptr, dstates_ptr,
    dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dlog_decay_ptr, starts_ptr, stops_ptr,
    L, H, Dk, Dv, scale, size,
    PACKED: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    index = tl.program_id(1).to(tl.int64)
    head = tl.program_id(2)
    tokens, inside = _chunk(tl.program_id(1), L, starts_ptr, stops_ptr, PACKED, C)
    if PACKED and tl.sum(inside.to(tl.int32), 0) == 0:
        return
    rows = tokens * H + head
    i = tl.arange(0, C)
    keys = block * BK + tl.arange(0, BK)
    beta = tl.load(beta_ptr + rows, mask=inside, other=0.0)
    G = tl.load(G_ptr + rows, mask=inside, other=0.0)
    last = tl.sum(tl.where(i == tl.sum(inside.to(tl.int32), 0) - 1, G, 0.0), 0)
    T = _load(T_ptr, rows, inside, C, i, C).to(DOT)
    by_state = tl.zeros((C, BK), tl.float32)  # dO S^T
    reads = tl.zeros((C, BK), tl.float32)  # dR S^T, R = diag(beta) (V - diag(e^G) K S)
    writes = tl.zeros((C, BK), tl.float32)  # U dS^T
    dscores = tl.zeros((C, C), tl.float32)
    dkeys = tl.zeros((C, C), tl.float32)
    dbeta = tl.zeros((C,), tl.float32)
    carried = 0.0
    for first in range(0, Dv, BV):
        values = first + tl.arange(0, BV)
        dout = _load(dout_ptr, rows, inside, Dv, values, Dv).to(DOT)
        U = _load(U_ptr, rows, inside, Dv, values, Dv).to(DOT)
        dU = _load(dU_ptr, rows, inside, Dv, values, Dv).to(DOT)
        S = _load(states_ptr + (index * H + head) * Dk * Dv, keys, keys < Dk, Dv, values, Dv)
        dS = _load(dstates_ptr + (index * H + head) * Dk * Dv, keys, keys < Dk, Dv, values, Dv)
        dR = tl.dot(tl.trans(T), dU, input_precision=PRECISION)
        if block == 0:
            v = _load(v_ptr, rows, inside, Dv, values, Dv)
            dbeta += tl.sum(dR * v, 1)
            _store(dv_ptr, dR * beta[:, None], rows, inside, Dv, values, Dv)
        carried += tl.sum(tl.sum(S.to(tl.float32) * dS.to(tl.float32), 1), 0)
        dR = dR.to(DOT)
        dscores += tl.dot(dout, tl.trans(U), input_precision=PRECISION)
        dkeys -= tl.dot(dR, tl.trans(U), input_precision=PRECISION)
        by_state += tl.dot(dout, tl.trans(S.to(DOT)), input_precision=PRECISION)
        reads += tl.dot(dR, tl.trans(S.to(DOT)), input_precision=PRECISION)
        writes += tl.dot(U, tl.trans(dS.to(DOT)), input_precision=PRECISION)
    q = _load(q_ptr, rows, inside, Dk, keys, Dk)
    k = _load(k_ptr, rows, inside, Dk, keys, Dk)
    decay = _decays(G, inside, C)
    dscores = (dscores * decay * scale).to(DOT)
    dkeys = tl.where(i[:, None] > i[None, :], dkeys * decay, 0.0)
    rise = tl.exp(G)[:, None]
    writes *= tl.exp(last - G)[:, None]
    dq = by_state * rise * scale + tl.dot(dscores, k.to(DOT), input_precision=PRECISION)
    reading = tl.dot(dkeys.to(DOT), k.to(DOT), input_precision=PRECISION) - rise * reads
    dbeta += tl.sum(k * reading, 1)
    reading *= beta[:, None]
    written = writes + tl.dot(tl.trans(dscores), q.to(DOT), input_precision=PRECISION)
    written += tl.dot(tl.trans((dkeys * beta[:, None]).to(DOT)), k.to(DOT), input_precision=PRECISION)
    dG = tl.sum(q * dq, 1) + tl.sum(k * (reading - written), 1)
    carried = carried * tl.exp(last) + tl.sum(tl.sum(k * writes, 1), 0)
    dlog_decay = tl.cumsum(dG, 0, reverse=True) + carried
    _store(dq_ptr, dq, rows, inside, Dk, keys, Dk)
    _store(dk_ptr, reading + written, rows, inside, Dk, keys, Dk)
    tl.store(dbeta_ptr + block.to(tl.int64) * size + rows, dbeta, mask=inside)
    tl.store(dlog_decay_ptr + block.to(tl.int64) * size + rows, dlog_decay, mask=inside)


@triton.jit
def _step_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, log_decay_ptr, before_ptr, out_ptr, after_ptr,
    Dk, Dv, scale,
    BK: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    keys = tl.arange(0, BK)
    values = tl.program_id(0) * BV + tl.arange(0, BV)
    q = tl.load(q_ptr + head * Dk + keys, mask=keys < Dk, other=0.0).to(tl.float32) * scale
    k = tl.load(k_ptr + head * Dk + keys, mask=keys < Dk, other=0.0).to(tl.float32)
    v = tl.load(v_ptr + head * Dv + values, mask=values < Dv, other=0.0).to(tl.float32)
    S = _load(before_ptr + head * Dk * Dv, keys, keys < Dk, Dv, values, Dv) * tl.exp(tl.load(log_decay_ptr + head))
    u = tl.load(beta_ptr + head) * (v - tl.sum(k[:, None] * S, 0))
    S += k[:, None] * u[None, :]
    tl.store(out_ptr + head * Dv + values, tl.sum(q[:, None] * S, 0).to(out_ptr.dtype.element_ty), mask=values < Dv)
    _store(after_ptr + head * Dk * Dv, S, keys, keys < Dk, Dv, values, Dv)


class _Places(NamedTuple):
    """Where chunks and sequences lie: tables for packed sequences, found without a word from the GPU.

    There are L / C + S places for the chunks of packed sequences, more than chunks; the ones behind hold no token.
    """

    chunks: int
    starts: Tensor | None = None  # (N,) first tokens
    stops: Tensor | None = None  # (N,) ends of the sequences that they are of
    offsets: Tensor | None = None  # (S + 1,)
    firsts: Tensor | None = None  # (S,) first chunks


def _places(q: Tensor, offsets: Tensor | None) -> _Places:
    B, L = q.shape[:2]
    if offsets is None:
        return _Places(B * triton.cdiv(L, _CHUNK))
    S = len(offsets) - 1
    chunks = L // _CHUNK + S
    offsets = offsets.clamp(max=L)
    counts = (offsets.diff() + _CHUNK - 1) // _CHUNK
    ends = counts.cumsum(0)
    index = torch.arange(chunks, device=q.device)
    sequence = torch.searchsorted(ends, index, right=True)
    firsts = ends - counts
    inside, sequence = sequence < S, sequence.clamp(max=S - 1)
    starts = torch.where(inside, offsets[sequence] + (index - firsts[sequence]) * _CHUNK, 0)
    stops = torch.where(inside, torch.minimum(starts + _CHUNK, offsets[sequence + 1]), 0)
    return _Places(chunks, starts, stops, offsets, firsts)


def kept_shape(q: Tensor, state: Tensor) -> tuple[int, ...]:
    """Return the shape of T, which is kept for the backward pass: a row a token."""
    return *q.shape[:3], _CHUNK


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor,
    scale: float,
    offsets: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs, the last state, and T if it is to be kept."""
    places = _places(q, offsets)
    T = q.new_empty(kept_shape(q, state))
    out, final = torch.empty_like(v), torch.empty_like(state)
    if q.numel() and len(state):
        G, W, U0 = _prepare(k, v, beta, log_decay, T, places, solved=False)
        U, states = _carry(k, G, W, U0, state, final, places)
        _B, L, H, Dk, Dv = *q.shape, v.shape[-1]
        BK, BV = min(_power(Dk), 64), min(_power(Dv), 128)
        _read_kernel[(triton.cdiv(Dv, BV), places.chunks, H)](
            q, k, G, U, states, out, places.starts, places.stops, L, H, Dk, Dv, scale,
            BK=BK, BV=BV, **_common(q, offsets),
        )  # fmt: skip
    return out, final, T if keep else q.new_empty(0)


def backward(
    dout: Tensor,
    dfinal: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor,
    state: Tensor,
    T: Tensor,
    scale: float,
    offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v, beta, log_decay and state."""
    places = _places(q, offsets)
    _B, L, H, Dk, Dv = *q.shape, v.shape[-1]
    dq, dk, dv, dstate = (torch.empty_like(tensor) for tensor in (q, k, v, state))
    BK = min(_power(Dk), 64)
    blocks = triton.cdiv(Dk, BK)
    dbeta, dlog_decay = (beta.new_empty(blocks, *beta.shape) for _ in range(2))
    if q.numel() and len(state):
        common = _common(q, offsets)
        G, W, U0 = _prepare(k, v, beta, log_decay, T, places, solved=True)
        U, states = _carry(k, G, W, U0, state, torch.empty_like(state), places)
        dU, dstates = U0, torch.empty_like(states)
        BV = min(_power(Dv), 128)
        _local_kernel[(triton.cdiv(Dv, BV), places.chunks, H)](
            q, k, G, dout, dU, places.starts, places.stops, L, H, Dk, Dv, scale, BK=BK, BV=BV, **common
        )
        BV = _state_block(Dv)
        _carry_back_kernel[(triton.cdiv(Dv, BV), len(state) * H)](
            q, k, G, W, dout, dfinal, dU, dstates, dstate, places.offsets, places.firsts, L, H, Dk, Dv, scale,
            BK=_power(Dk), BV=BV, **common,
        )  # fmt: skip
        _differentiate_kernel[(blocks, places.chunks, H)](
            q, k, v, beta, G, T, U, states, dout, dU, dstates, dq, dk, dv, dbeta, dlog_decay,
            places.starts, places.stops, L, H, Dk, Dv, scale, beta.numel(),
            BK=BK, BV=min(_power(Dv), 32), **{**common, "num_warps": 8},
        )  # fmt: skip
    return dq, dk, dv, dbeta.sum(0), dlog_decay.sum(0), dstate


def step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the outputs and the next state for one token of each sequence."""
    B, H, Dk, Dv = state.shape
    out, final = torch.empty_like(v), torch.empty_like(state)
    if B:
        BV = _state_block(Dv)
        _step_kernel[(triton.cdiv(Dv, BV), B * H)](
            q, k, v, beta, log_decay, state, out, final, Dk, Dv, scale, BK=_power(Dk), BV=BV, num_warps=4
        )
    return out, final


def _prepare(
    k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, T: Tensor, places: _Places, *, solved: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return G, W and U0; find T, or use it if it is solved."""
    L, H, Dk, Dv = *k.shape[1:], v.shape[-1]
    G, W, U0 = torch.empty_like(log_decay), torch.empty_like(k), torch.empty_like(v)
    _prepare_kernel[(places.chunks, H)](
        k, v, beta, log_decay, G, T, W, U0, places.starts, places.stops, L, H, Dk, Dv,
        SOLVED=solved, LEVELS=_CHUNK.bit_length() - 1, BK=_power(Dk), BV=min(_power(Dv), 64),
        **_common(k, places.offsets),
    )  # fmt: skip
    return G, W, U0


def _carry(
    k: Tensor, G: Tensor, W: Tensor, U0: Tensor, state: Tensor, final: Tensor, places: _Places
) -> tuple[Tensor, Tensor]:
    """Return U and the states before each chunk, and write the last ones to `final`."""
    L, H, Dk, Dv = *k.shape[1:], U0.shape[-1]
    U, states = torch.empty_like(U0), k.new_empty(places.chunks, H, Dk, Dv)
    BV = _state_block(Dv)
    _carry_kernel[(triton.cdiv(Dv, BV), len(state) * H)](
        k, G, W, U0, state, U, states, final, places.offsets, places.firsts, L, H, Dk, Dv,
        BK=_power(Dk), BV=BV, **_common(k, places.offsets),
    )  # fmt: skip
    return U, states


def _common(q: Tensor, offsets: Tensor | None) -> dict[str, object]:
    """Return what all kernels are told: 16 bits are multiplied as they are, but the interpreter cannot do that."""
    common = {"PACKED": offsets is not None, "C": _CHUNK}
    if q.dtype == torch.float32:
        return {**common, "DOT": tl.float32, "PRECISION": "tf32x3", "num_warps": 8, "num_stages": 1}
    dot = tl.bfloat16 if q.dtype == torch.bfloat16 else tl.float16
    dot = tl.float32 if triton.knobs.runtime.interpret else dot
    return {**common, "DOT": dot, "PRECISION": "tf32", "num_warps": 4, "num_stages": 2 if q.shape[-1] <= 128 else 1}


def _power(D: int) -> int:
    return max(triton.next_power_of_2(D), 16)


def _state_block(Dv: int) -> int:
    """Return how many value channels a program carries: few, so that many programs share the one serial loop."""
    return min(_power(Dv), 32)
