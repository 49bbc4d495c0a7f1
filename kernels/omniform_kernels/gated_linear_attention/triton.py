"""Gated linear attention on a GPU: states from chunk to chunk, then every chunk at once; gradients likewise.

    T tokens of all sequences   S sequences   H heads   N chunks   C tokens in a chunk   Dk, Dv head sizes
    K, V channels in a block    G = 1 or Dk decays a head

With `sums`, the running sum of the log decays inside a chunk, key j reaches query i >= j with weight
exp(sums_i - sums_j). With one decay a head that is one factor a pair. With one a channel, chunks are halved again and
again: a pair meets at the middle m of the one span whose halves part it, as (q_i exp(sums_i - sums_m)) times
(k_j exp(sums_m - sums_j)), so that each level of halving is one masked matrix product and no exponent is above 0.

bfloat16 is multiplied as such; float16, whose range a state may leave, as tf32, and float32 as three products of tf32.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

__all__ = ["backward", "forward"]

_CHUNK = 64
_BLOCK = 64
_FEW_PROGRAMS = 64  # up to so many sequences and heads, states are cut finer


@triton.jit
def _bounds(chunk, spans_ptr, L, C: tl.constexpr, PACKED: tl.constexpr):
    """Return the first token of a chunk, and the first behind its sequence."""
    if PACKED:
        start = tl.load(spans_ptr + 2 * chunk)
        end = tl.load(spans_ptr + 2 * chunk + 1)
    else:
        count = tl.cdiv(L, C)
        start = chunk // count * L + chunk % count * C
        end = (chunk // count + 1) * L
    return start, end


@triton.jit
def _chunks(sequence, firsts_ptr, L, C: tl.constexpr, PACKED: tl.constexpr):
    """Return the first chunk of a sequence, and how many it has."""
    if PACKED:
        first = tl.load(firsts_ptr + sequence)
        count = tl.load(firsts_ptr + sequence + 1) - first
    else:
        count = tl.cdiv(L, C).to(tl.int64)
        first = sequence * count
    return first, count


@triton.jit
def _tokens(x_ptr, t, end, h, d, H, D: tl.constexpr):
    """Load (C, block) of a head of (T, H, D) in float32; zeros behind the end."""
    inside = (t < end)[:, None] & (d < D)[None, :]
    return tl.load(x_ptr + (t[:, None] * H + h) * D + d[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _decays(sums_ptr, t, end, h, d, H, D: tl.constexpr, PER_CHANNEL: tl.constexpr):
    """Load the sums of log decays, (C, block) or (C, 1)."""
    if PER_CHANNEL:
        sums = _tokens(sums_ptr, t, end, h, d, H, D)
    else:
        sums = tl.load(sums_ptr + t * H + h, mask=t < end, other=0.0)[:, None]
    return sums


@triton.jit
def _total(sums_ptr, last, h, d, H, D: tl.constexpr, PER_CHANNEL: tl.constexpr):
    """Load the sum of log decays of a whole chunk, (block,) or (1,)."""
    if PER_CHANNEL:
        total = tl.load(sums_ptr + (last * H + h) * D + d, mask=d < D, other=0.0)
    else:
        total = tl.load(sums_ptr + last * H + h + tl.arange(0, 1))
    return total


@triton.jit
def _head_weights(sums, row):
    """Return exp(sums_i - sums_j) for j < i, (C, C), of sums (C, 1)."""
    difference = tl.minimum(sums - tl.trans(sums), 0.0)
    return tl.where(row[:, None] > row[None, :], tl.exp(difference), 0.0)


@triton.jit
def _level(sums_ptr, sums, half, row, start, end, h, d, H, D: tl.constexpr):
    """Return the decays to queries in second halves and from keys in first ones, and which pairs share a span."""
    span = row // (2 * half)
    middle = _tokens(sums_ptr, start + span * (2 * half) + half - 1, end, h, d, H, D)
    decay = tl.exp(-tl.abs(sums - middle))
    second = (row // half % 2 == 1)[:, None]
    return tl.where(second, decay, 0.0), tl.where(second, 0.0, decay), span[:, None] == span[None, :]


@triton.jit
def _head_scores(
    q_ptr, k_ptr, sums_ptr, t, end, row, h, H,
    Dk: tl.constexpr, C: tl.constexpr, K: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the scores of a chunk, (C, C), with one decay a head."""
    scores = tl.zeros((C, C), tl.float32)
    for first in range(0, Dk, K):
        d = first + tl.arange(0, K)
        q = _tokens(q_ptr, t, end, h, d, H, Dk).to(DOT)
        k = _tokens(k_ptr, t, end, h, d, H, Dk).to(DOT)
        scores += tl.dot(q, tl.trans(k), input_precision=PRECISION)
    sums = _decays(sums_ptr, t, end, h, row, H, 1, False)
    return scores * tl.where(row[:, None] == row[None, :], 1.0, _head_weights(sums, row))


@triton.jit
def _load_scores(scores_ptr, t, end, row, h, H, C: tl.constexpr):
    place = scores_ptr + (t[:, None] * H + h) * C + row[None, :]
    return tl.load(place, mask=(t < end)[:, None], other=0.0)


@triton.jit
def _sums_kernel(
    log_decay_ptr, sums_ptr, spans_ptr, L, W,
    C: tl.constexpr, K: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    start, end = _bounds(tl.program_id(0).to(tl.int64), spans_ptr, L, C, PACKED)
    t = start + tl.arange(0, C)
    d = tl.program_id(1) * K + tl.arange(0, K)
    inside = (t < end)[:, None] & (d < W)[None, :]
    place = t[:, None] * W + d[None, :]
    log_decay = tl.load(log_decay_ptr + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(sums_ptr + place, tl.cumsum(log_decay, 0), mask=inside)


@triton.jit
def _states_kernel(
    k_ptr, v_ptr, sums_ptr, initial_ptr, states_ptr, final_ptr, spans_ptr, firsts_ptr, L, H,
    Dk: tl.constexpr, Dv: tl.constexpr, PER_CHANNEL: tl.constexpr, PACKED: tl.constexpr,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    sequence, h = tl.program_id(0).to(tl.int64) // H, tl.program_id(0) % H
    d, c = tl.program_id(1) * K + tl.arange(0, K), tl.program_id(2) * V + tl.arange(0, V)
    inside = (d < Dk)[:, None] & (c < Dv)[None, :]
    place = d[:, None] * Dv + c[None, :]
    state = tl.load(initial_ptr + (sequence * H + h) * Dk * Dv + place, mask=inside, other=0.0)
    chunk, count = _chunks(sequence, firsts_ptr, L, C, PACKED)
    for _ in range(count):
        start, end = _bounds(chunk, spans_ptr, L, C, PACKED)
        t = start + tl.arange(0, C)
        tl.store(states_ptr + (chunk * H + h) * Dk * Dv + place, state.to(DOT), mask=inside)
        total = _total(sums_ptr, tl.minimum(start + C, end) - 1, h, d, H, Dk, PER_CHANNEL)
        sums = _decays(sums_ptr, t, end, h, d, H, Dk, PER_CHANNEL)
        k = _tokens(k_ptr, t, end, h, d, H, Dk) * tl.exp(total[None, :] - sums)
        v = _tokens(v_ptr, t, end, h, c, H, Dv)
        write = tl.dot(tl.trans(k).to(DOT), v.to(DOT), input_precision=PRECISION)
        state = state * tl.exp(total)[:, None] + write
        chunk += 1
    tl.store(final_ptr + (sequence * H + h) * Dk * Dv + place, state, mask=inside)


@triton.jit
def _scores_kernel(
    q_ptr, k_ptr, sums_ptr, scores_ptr, spans_ptr, L, H,
    Dk: tl.constexpr, PACKED: tl.constexpr, C: tl.constexpr, K: tl.constexpr, LEVELS: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    start, end = _bounds(tl.program_id(0).to(tl.int64), spans_ptr, L, C, PACKED)
    h = tl.program_id(1)
    row = tl.arange(0, C)
    t = start + row
    scores = tl.zeros((C, C), tl.float32)
    for first in range(0, Dk, K):
        d = first + tl.arange(0, K)
        q = _tokens(q_ptr, t, end, h, d, H, Dk)
        k = _tokens(k_ptr, t, end, h, d, H, Dk)
        sums = _tokens(sums_ptr, t, end, h, d, H, Dk)
        scores += tl.where(row[:, None] == row[None, :], tl.sum(q * k, 1)[:, None], 0.0)
        for level in range(LEVELS):
            to_query, from_key, paired = _level(sums_ptr, sums, 1 << level, row, start, end, h, d, H, Dk)
            products = tl.dot((q * to_query).to(DOT), tl.trans((k * from_key).to(DOT)), input_precision=PRECISION)
            scores += tl.where(paired, products, 0.0)
    tl.store(scores_ptr + (t[:, None] * H + h) * C + row[None, :], scores.to(DOT), mask=(t < end)[:, None])


@triton.jit
def _outputs_kernel(
    q_ptr, k_ptr, v_ptr, sums_ptr, scores_ptr, states_ptr, out_ptr, spans_ptr, scale, L, H,
    Dk: tl.constexpr, Dv: tl.constexpr, PER_CHANNEL: tl.constexpr, PACKED: tl.constexpr,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    chunk, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, end = _bounds(chunk, spans_ptr, L, C, PACKED)
    row = tl.arange(0, C)
    t = start + row
    c = tl.program_id(2) * V + tl.arange(0, V)
    out = tl.zeros((C, V), tl.float32)
    for first in range(0, Dk, K):
        d = first + tl.arange(0, K)
        inside = (d < Dk)[:, None] & (c < Dv)[None, :]
        place = states_ptr + ((chunk * H + h) * Dk + d[:, None]) * Dv + c[None, :]
        state = tl.load(place, mask=inside & (start < end), other=0.0)
        q = _tokens(q_ptr, t, end, h, d, H, Dk)
        q *= tl.exp(_decays(sums_ptr, t, end, h, d, H, Dk, PER_CHANNEL))
        out += tl.dot(q.to(DOT), state, input_precision=PRECISION)
    if PER_CHANNEL:
        scores = _load_scores(scores_ptr, t, end, row, h, H, C)
    else:
        scores = _head_scores(q_ptr, k_ptr, sums_ptr, t, end, row, h, H, Dk, C, K, DOT, PRECISION).to(DOT)
    v = _tokens(v_ptr, t, end, h, c, H, Dv).to(DOT)
    out += tl.dot(scores, v, input_precision=PRECISION)
    inside = (t < end)[:, None] & (c < Dv)[None, :]
    tl.store(out_ptr + (t[:, None] * H + h) * Dv + c[None, :], out * scale, mask=inside)


@triton.jit
def _state_gradients_kernel(
    q_ptr, dout_ptr, sums_ptr, dfinal_ptr, dstates_ptr, dinitial_ptr, spans_ptr, firsts_ptr, scale, L, H,
    Dk: tl.constexpr, Dv: tl.constexpr, PER_CHANNEL: tl.constexpr, PACKED: tl.constexpr,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Store the gradient of the state after each chunk."""
    sequence, h = tl.program_id(0).to(tl.int64) // H, tl.program_id(0) % H
    d, c = tl.program_id(1) * K + tl.arange(0, K), tl.program_id(2) * V + tl.arange(0, V)
    inside = (d < Dk)[:, None] & (c < Dv)[None, :]
    place = d[:, None] * Dv + c[None, :]
    dstate = tl.load(dfinal_ptr + (sequence * H + h) * Dk * Dv + place, mask=inside, other=0.0)
    chunk, count = _chunks(sequence, firsts_ptr, L, C, PACKED)
    chunk += count
    for _ in range(count):
        chunk -= 1
        start, end = _bounds(chunk, spans_ptr, L, C, PACKED)
        t = start + tl.arange(0, C)
        tl.store(dstates_ptr + (chunk * H + h) * Dk * Dv + place, dstate.to(DOT), mask=inside)
        total = _total(sums_ptr, tl.minimum(start + C, end) - 1, h, d, H, Dk, PER_CHANNEL)
        sums = _decays(sums_ptr, t, end, h, d, H, Dk, PER_CHANNEL)
        q = _tokens(q_ptr, t, end, h, d, H, Dk) * tl.exp(sums)
        dout = _tokens(dout_ptr, t, end, h, c, H, Dv) * scale
        read = tl.dot(tl.trans(q).to(DOT), dout.to(DOT), input_precision=PRECISION)
        dstate = dstate * tl.exp(total)[:, None] + read
    tl.store(dinitial_ptr + (sequence * H + h) * Dk * Dv + place, dstate, mask=inside)


@triton.jit
def _key_gradients_kernel(
    q_ptr, k_ptr, v_ptr, sums_ptr, states_ptr, dstates_ptr, dout_ptr, dq_ptr, dk_ptr, dlog_decay_ptr, spans_ptr,
    scale, L, H,
    Dk: tl.constexpr, Dv: tl.constexpr, PER_CHANNEL: tl.constexpr, PACKED: tl.constexpr,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, LEVELS: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of queries, keys and log decays.

    A decay stands between every earlier key or state and every later query or state. Inside the chunk that is the sum
    over later tokens of q dq - k dk; across its ends all terms have one sign of time, and nothing cancels.
    """
    chunk, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, end = _bounds(chunk, spans_ptr, L, C, PACKED)
    row = tl.arange(0, C)
    t = start + row
    d = tl.program_id(2) * K + tl.arange(0, K)
    dscores = tl.zeros((C, C), tl.float32)
    dq_across = tl.zeros((C, K), tl.float32)
    dk_across = tl.zeros((C, K), tl.float32)
    through = tl.zeros((K,), tl.float32)
    for first in range(0, Dv, V):
        c = first + tl.arange(0, V)
        v = _tokens(v_ptr, t, end, h, c, H, Dv).to(DOT)
        dout = (_tokens(dout_ptr, t, end, h, c, H, Dv) * scale).to(DOT)
        inside = (d < Dk)[:, None] & (c < Dv)[None, :] & (start < end)
        place = ((chunk * H + h) * Dk + d[:, None]) * Dv + c[None, :]
        state = tl.load(states_ptr + place, mask=inside, other=0.0)
        dstate = tl.load(dstates_ptr + place, mask=inside, other=0.0)
        dscores += tl.dot(dout, tl.trans(v), input_precision=PRECISION)
        dq_across += tl.dot(dout, tl.trans(state), input_precision=PRECISION)
        dk_across += tl.dot(v, tl.trans(dstate), input_precision=PRECISION)
        through += tl.sum(state.to(tl.float32) * dstate.to(tl.float32), 1)
    sums = _decays(sums_ptr, t, end, h, d, H, Dk, PER_CHANNEL)
    total = _total(sums_ptr, tl.maximum(tl.minimum(start + C, end) - 1, 0), h, d, H, Dk, PER_CHANNEL)
    dq_across *= tl.exp(sums)
    dk_across *= tl.exp(tl.minimum(total[None, :] - sums, 0.0))
    through *= tl.exp(total)
    q = _tokens(q_ptr, t, end, h, d, H, Dk)
    k = _tokens(k_ptr, t, end, h, d, H, Dk)
    own = tl.sum(tl.where(row[:, None] == row[None, :], dscores, 0.0), 1)[:, None]
    dq = tl.zeros((C, K), tl.float32)
    dk = tl.zeros((C, K), tl.float32)
    if PER_CHANNEL:
        for level in range(LEVELS):
            to_query, from_key, paired = _level(sums_ptr, sums, 1 << level, row, start, end, h, d, H, Dk)
            pairs = tl.where(paired, dscores, 0.0).to(DOT)
            dq += to_query * tl.dot(pairs, (k * from_key).to(DOT), input_precision=PRECISION)
            dk += from_key * tl.dot(tl.trans(pairs), (q * to_query).to(DOT), input_precision=PRECISION)
    else:
        pairs = (dscores * _head_weights(sums, row)).to(DOT)
        dq += tl.dot(pairs, k.to(DOT), input_precision=PRECISION)
        dk += tl.dot(tl.trans(pairs), q.to(DOT), input_precision=PRECISION)
    later = q * (dq + dq_across) - k * dk
    earlier = k * dk_across
    place = (t[:, None] * H + h) * Dk + d[None, :]
    inside = (t < end)[:, None] & (d < Dk)[None, :]
    tl.store(dq_ptr + place, dq + dq_across + own * k, mask=inside)
    tl.store(dk_ptr + place, dk + dk_across + own * q, mask=inside)
    if PER_CHANNEL:
        dlog_decay = tl.cumsum(later, 0, reverse=True) + tl.cumsum(earlier, 0) - earlier + through[None, :]
        tl.store(dlog_decay_ptr + place, dlog_decay, mask=inside)
    else:
        before = tl.sum(earlier, 1)
        dlog_decay = tl.cumsum(tl.sum(later, 1), 0, reverse=True) + tl.cumsum(before, 0) - before + tl.sum(through)
        place = (t * H + h) * tl.num_programs(2) + tl.program_id(2)
        tl.store(dlog_decay_ptr + place, dlog_decay, mask=t < end)


@triton.jit
def _value_gradients_kernel(
    q_ptr, k_ptr, sums_ptr, scores_ptr, dstates_ptr, dout_ptr, dv_ptr, spans_ptr, scale, L, H,
    Dk: tl.constexpr, Dv: tl.constexpr, PER_CHANNEL: tl.constexpr, PACKED: tl.constexpr,
    C: tl.constexpr, K: tl.constexpr, V: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    chunk, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, end = _bounds(chunk, spans_ptr, L, C, PACKED)
    row = tl.arange(0, C)
    t = start + row
    c = tl.program_id(2) * V + tl.arange(0, V)
    last = tl.maximum(tl.minimum(start + C, end) - 1, 0)
    dv = tl.zeros((C, V), tl.float32)
    for first in range(0, Dk, K):
        d = first + tl.arange(0, K)
        inside = (d < Dk)[:, None] & (c < Dv)[None, :]
        place = dstates_ptr + ((chunk * H + h) * Dk + d[:, None]) * Dv + c[None, :]
        dstate = tl.load(place, mask=inside & (start < end), other=0.0)
        total = _total(sums_ptr, last, h, d, H, Dk, PER_CHANNEL)
        sums = _decays(sums_ptr, t, end, h, d, H, Dk, PER_CHANNEL)
        k = _tokens(k_ptr, t, end, h, d, H, Dk) * tl.exp(tl.minimum(total[None, :] - sums, 0.0))
        dv += tl.dot(k.to(DOT), dstate, input_precision=PRECISION)
    if PER_CHANNEL:
        scores = _load_scores(scores_ptr, t, end, row, h, H, C)
    else:
        scores = _head_scores(q_ptr, k_ptr, sums_ptr, t, end, row, h, H, Dk, C, K, DOT, PRECISION).to(DOT)
    dout = (_tokens(dout_ptr, t, end, h, c, H, Dv) * scale).to(DOT)
    dv += tl.dot(tl.trans(scores), dout, input_precision=PRECISION)
    inside = (t < end)[:, None] & (c < Dv)[None, :]
    tl.store(dv_ptr + (t[:, None] * H + h) * Dv + c[None, :], dv, mask=inside)


def forward(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor, offsets: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Return outputs (B, L, H, Dv) and final states; all contiguous, `log_decay` (B, L, H, 1 or Dk)."""
    plan = _Plan(q, v, log_decay, offsets, state.shape[0])
    if plan.is_empty:
        return torch.zeros_like(v), state.clone()
    sums = plan.sums(log_decay)
    states, final = plan.states(k, v, sums, state)
    out = torch.empty_like(v)
    _outputs_kernel[plan.grid(plan.Dv, plan.options["V"])](
        q, k, v, sums, plan.scores(q, k, sums), states, out, plan.spans, scale, *plan.sizes, **plan.options,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    return out, final


def backward(
    dout: Tensor,
    dfinal: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    state: Tensor,
    offsets: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v, log_decay and state."""
    plan = _Plan(q, v, log_decay, offsets, state.shape[0])
    if plan.is_empty:
        return (*(torch.zeros_like(tensor) for tensor in (q, k, v, log_decay)), dfinal.clone())
    sums = plan.sums(log_decay)
    states, _ = plan.states(k, v, sums, state)
    dq, dk, dv, dstate = (torch.empty_like(tensor) for tensor in (q, k, v, state))
    dstates = torch.empty_like(states)
    _state_gradients_kernel[plan.state_grid](
        q, dout, sums, dfinal, dstates, dstate, plan.spans, plan.firsts, scale, *plan.sizes, **plan.state_options,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    # Where products take several operands or several passes, half a block of keys keeps its tiles in the registers.
    block = _block(plan.Dk, _BLOCK // 2 if plan.per_channel or plan.dot == torch.float32 else _BLOCK)
    grid = plan.grid(plan.Dk, block)
    dg = log_decay.new_empty(*q.shape[:3], q.shape[3] if plan.per_channel else grid[2], dtype=torch.float32)
    _key_gradients_kernel[grid](
        q, k, v, sums, states, dstates, dout, dq, dk, dg, plan.spans, scale, *plan.sizes,
        **(plan.options | {"K": block}), LEVELS=_CHUNK.bit_length() - 1, num_warps=8, num_stages=1,
    )  # fmt: skip
    _value_gradients_kernel[plan.grid(plan.Dv, plan.options["V"])](
        q, k, sums, plan.scores(q, k, sums), dstates, dout, dv, plan.spans, scale, *plan.sizes, **plan.options,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    return dq, dk, dv, (dg if plan.per_channel else dg.sum(-1, keepdim=True)).to(log_decay.dtype), dstate


class _Plan:
    """What the launches of one call have in common: how tokens and channels are cut, and in what dtype is multiplied.

    Packed sequences have tables: `spans` (N, 2), the first token of each chunk and the first behind its sequence, and
    `firsts` (S + 1,), the first chunk of each sequence. N = L // C + S is enough for any lengths, so that the host need
    not wait for them; chunks that are too many have the span (0, 0).
    """

    def __init__(self, q: Tensor, v: Tensor, log_decay: Tensor, offsets: Tensor | None, S: int) -> None:
        B, self.L, self.H, self.Dk = q.shape
        self.Dv, self.S = v.shape[-1], S
        self.per_channel = log_decay.shape[-1] > 1
        self.spans, self.firsts = (None, None) if offsets is None else _tables(offsets, self.L)
        self.N = B * triton.cdiv(self.L, _CHUNK) if self.spans is None else len(self.spans)
        self.is_empty = self.N * self.H * self.Dk * self.Dv == 0
        self.dot, precision = _arithmetic(q.dtype)
        common = {"PER_CHANNEL": self.per_channel, "PACKED": offsets is not None, "C": _CHUNK}
        common |= {"DOT": _TRITON[self.dot], "PRECISION": precision}
        self.options: dict[str, Any] = common | {"K": _block(self.Dk, _BLOCK), "V": _block(self.Dv, _BLOCK)}
        block = _BLOCK // 2 if S * self.H <= _FEW_PROGRAMS else _BLOCK
        self.state_options: dict[str, Any] = common | {"K": _block(self.Dk, block), "V": _block(self.Dv, block)}
        self.state_grid = (
            S * self.H,
            triton.cdiv(self.Dk, self.state_options["K"]),
            triton.cdiv(self.Dv, self.state_options["V"]),
        )

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.L, self.H, self.Dk, self.Dv

    def grid(self, D: int, block: int) -> tuple[int, int, int]:
        """Return a program for each chunk, head and block of D channels."""
        return self.N, self.H, triton.cdiv(D, block)

    def sums(self, log_decay: Tensor) -> Tensor:
        """Return the running sums of the log decays in each chunk, in float32."""
        sums = torch.empty_like(log_decay, dtype=torch.float32)
        W = self.H * log_decay.shape[-1]
        block = _block(W, _BLOCK)
        _sums_kernel[(self.N, triton.cdiv(W, block))](
            log_decay, sums, self.spans, self.L, W, C=_CHUNK, K=block, PACKED=self.spans is not None, num_warps=4
        )
        return sums

    def states(self, k: Tensor, v: Tensor, sums: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states before each chunk (N, H, Dk, Dv), and the final ones."""
        states = k.new_empty(self.N, self.H, self.Dk, self.Dv, dtype=self.dot)
        final = torch.empty_like(state)
        _states_kernel[self.state_grid](
            k, v, sums, state, states, final, self.spans, self.firsts, *self.sizes, **self.state_options,
            num_warps=4, num_stages=2,
        )  # fmt: skip
        return states, final

    def scores(self, q: Tensor, k: Tensor, sums: Tensor) -> Tensor | None:
        """Return the scores inside each chunk (T, H, C); None with one decay a head, where they are quickly made."""
        if not self.per_channel:
            return None
        scores = q.new_empty(*q.shape[:3], _CHUNK, dtype=self.dot)
        options = {name: value for name, value in self.options.items() if name not in ("PER_CHANNEL", "V")}
        _scores_kernel[(self.N, self.H)](
            q, k, sums, scores, self.spans, self.L, self.H, self.Dk, **options,
            LEVELS=_CHUNK.bit_length() - 1, num_warps=4, num_stages=1,
        )  # fmt: skip
        return scores


_TRITON = {torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}


def _arithmetic(dtype: torch.dtype) -> tuple[torch.dtype, str]:
    """Return in what dtype and precision matrices are multiplied; the interpreter gets bfloat16 products wrong."""
    if dtype == torch.bfloat16 and not knobs.runtime.interpret:
        return torch.bfloat16, "tf32"
    return torch.float32, "tf32" if dtype == torch.float16 else "tf32x3"


def _block(D: int, most: int) -> int:
    return min(max(triton.next_power_of_2(D), 16), most)


def _tables(offsets: Tensor, L: int) -> tuple[Tensor, Tensor]:
    offsets = offsets.clamp(0, L)
    counts = (offsets.diff() + _CHUNK - 1) // _CHUNK  # (S,)
    firsts = torch.cat([offsets.new_zeros(1), counts.cumsum(0)])  # (S + 1,)
    chunk = torch.arange(L // _CHUNK + len(counts), device=offsets.device)
    owner = torch.searchsorted(firsts[1:], chunk, right=True)
    exists = owner < len(counts)
    owner = owner.clamp(max=len(counts) - 1)
    starts = offsets[owner] + (chunk - firsts[owner]) * _CHUNK
    return torch.stack([starts, offsets[owner + 1]], 1) * exists[:, None], firsts
