"""Decoding on a GPU: equal runs of tiles for all programs, then one merge for each sequence and head.

    B batch   S places of the cache   H heads   K key heads, of G = H / K heads each (Q of them with padding)
    D head size   P = D rounded up to a power of two   N keys of a tile

The heads that share keys are rows of one matrix product, so that each key is read once. Logarithms are to base 2.
"""

import math
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from omniform_kernels.decode_attention.schedule import Schedule, schedule

__all__ = ["forward"]


@triton.jit
def _part_kernel(
    q_ptr, k_ptr, v_ptr, lengths_ptr, mask_ptr, slopes_ptr, part_ptr, log_sum_ptr,
    works_ptr, runs_ptr, first_work_ptr,
    S, stride_k, stride_ks, stride_kh, stride_v, stride_vs, stride_vh, scale,
    K: tl.constexpr, G: tl.constexpr, Q: tl.constexpr, D: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
    MASKED: tl.constexpr, SLOPES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Do one run of tiles; write what it gives of each work to the place run + work."""
    run = tl.program_id(0)
    tile, stop = tl.load(runs_ptr + run), tl.load(runs_ptr + run + 1)
    work = tl.load(first_work_ptr + run)
    members, channels = tl.arange(0, Q), tl.arange(0, P)
    inside = (members < G)[:, None] & (channels < D)[None]
    while tile < stop:
        begin, end = tl.load(works_ptr + work), tl.minimum(tl.load(works_ptr + work + 1), stop)
        sequence, key_head = work // K, work % K
        length = tl.load(lengths_ptr + sequence)
        heads = key_head * G + members
        q = tl.load(q_ptr + (sequence * K * G + heads)[:, None] * D + channels[None], mask=inside, other=0.0)
        k_start = k_ptr + sequence * stride_k + key_head * stride_kh
        v_start = v_ptr + sequence * stride_v + key_head * stride_vh
        slopes = tl.zeros((Q,), tl.float32)
        if SLOPES:
            slopes = tl.load(slopes_ptr + heads, mask=members < G, other=0.0)
        maximum = tl.full((Q,), float("-inf"), tl.float32)
        total = tl.zeros((Q,), tl.float32)
        acc = tl.zeros((Q, P), tl.float32)
        for t in range(tile, end):
            columns = (t - begin) * N + tl.arange(0, N)
            seen = columns < length
            if MASKED:
                seen = seen & (tl.load(mask_ptr + sequence * S + columns, mask=seen, other=0) != 0)
            there = seen[:, None] & (channels < D)[None]
            k = tl.load(k_start + columns[:, None] * stride_ks + channels[None], mask=there, other=0.0)
            v = tl.load(v_start + columns[:, None] * stride_vs + channels[None], mask=there, other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
            if SLOPES:
                scores -= slopes[:, None] * (length - 1 - columns)[None].to(tl.float32)
            scores = tl.where(seen[None], scores, float("-inf"))
            new = tl.maximum(maximum, tl.max(scores, 1))
            finite = tl.where(new == float("-inf"), 0.0, new)  # no key seen yet
            weights = tl.exp2(scores - finite[:, None])
            decay = tl.exp2(maximum - finite)
            total = total * decay + tl.sum(weights, 1)
            acc = tl.dot(weights.to(v.dtype), v, acc * decay[:, None], input_precision=PRECISION)
            maximum = new
        if tile < end:
            safe = tl.where(total > 0, total, 1.0)
            place = (run + work) * G + members
            tl.store(part_ptr + place[:, None] * D + channels[None], acc / safe[:, None], mask=inside)
            tl.store(log_sum_ptr + place, maximum + tl.log2(safe), mask=members < G)
        tile = tl.maximum(tile, end)
        work += 1


@triton.jit
def _merge_kernel(
    part_ptr, log_sum_ptr, out_ptr, works_ptr, runs_ptr, first_run_ptr,
    G: tl.constexpr, D: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """Merge the parts of one head of one work, from the run in which it starts to that in which it ends."""
    work, member = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channels = tl.arange(0, P)
    begin, end = tl.load(works_ptr + work), tl.load(works_ptr + work + 1)
    run = tl.load(first_run_ptr + work)
    maximum, total = float("-inf"), 0.0
    acc = tl.zeros((P,), tl.float32)
    start = begin
    while start < end:
        place = (run + work) * G + member
        log_sum = tl.load(log_sum_ptr + place)
        part = tl.load(part_ptr + place * D + channels, mask=channels < D, other=0.0)
        new = tl.maximum(maximum, log_sum)
        finite = tl.where(new == float("-inf"), 0.0, new)
        decay, weight = tl.exp2(maximum - finite), tl.exp2(log_sum - finite)
        acc = acc * decay + part * weight
        total = total * decay + weight
        maximum = new
        run += 1
        start = tl.load(runs_ptr + run)
    out = acc / tl.where(total > 0, total, 1.0)
    tl.store(out_ptr + (work * G + member) * D + channels, out, mask=channels < D)


def forward(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, mask: Tensor | None, slopes: Tensor | None, scale: float,
    splits: int | None,
) -> Tensor:  # fmt: skip
    """Return (B, H, D); `lengths` (B,), `mask` (B, S), `slopes` (H,)."""
    dtype = q.dtype
    q, k, v = (_readable(tensor) for tensor in (q.contiguous(), k, v))
    B, H, D = q.shape
    S, K = k.shape[1:3]
    out = torch.empty_like(q)
    if q.numel() == 0:
        return out.to(dtype)
    N = 64 if D <= 128 else 32
    tiles = triton.cdiv(S, N)
    programs = min(splits or _programs(q), max(B * K * tiles, 1))
    if lengths is None:
        plan = _even_schedule(B * K, tiles, programs, q.device)
        lengths = torch.full((B,), S, device=q.device)
    else:
        plan = schedule(lengths, K, N, programs)
    places = programs + B * K
    parts = q.new_empty(places, H // K, D, dtype=torch.float32)
    log_sums = q.new_empty(places, H // K, dtype=torch.float32)
    P = max(triton.next_power_of_2(D), 16)
    log2e = math.log2(math.e)
    _part_kernel[(programs,)](
        q, k, v, lengths, None if mask is None else mask.contiguous().view(torch.uint8),
        None if slopes is None else slopes.float() * log2e, parts, log_sums,
        plan.works, plan.runs, plan.first_work, S, *k.stride()[:3], *v.stride()[:3], scale * log2e,
        K=K, G=H // K, Q=max(triton.next_power_of_2(H // K), 16), D=D, P=P, N=N,
        MASKED=mask is not None, SLOPES=slopes is not None,
        PRECISION="ieee" if q.dtype == torch.float32 else "tf32", num_warps=4, num_stages=3,
    )  # fmt: skip
    _merge_kernel[(B * K, H // K)](
        parts, log_sums, out, plan.works, plan.runs, plan.first_run, G=H // K, D=D, P=P, num_warps=1
    )
    return out.to(dtype)


@lru_cache(maxsize=32)
def _even_schedule(works: int, tiles: int, programs: int, device: torch.device) -> Schedule:
    """Return the schedule of as many tiles for each work, which for `tile` steps of decoding stays the same."""
    return schedule(torch.full((works,), tiles, device=device), 1, 1, programs)


def _programs(x: Tensor) -> int:
    """Return how many programs fill the device; several under the interpreter, for tests."""
    return 2 * torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 4


def _readable(x: Tensor) -> Tensor:
    """Make channels adjacent; the interpreter, whose products of bfloat16 are wrong, gets float32."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    return x.float() if x.dtype == torch.bfloat16 and triton.knobs.runtime.interpret else x
