"""The selective scan on a GPU: chunks of steps side by side, joined by the states between them.

    T tokens of all sequences   S sequences   Di channels   N states a channel   P channels of a program
    c chunk of steps, in the order of the scan; its slot is where the state before it is kept (chunks.py)

Forward: each chunk from a state of zero (`_local_kernel`), the states between chunks (`_carry_kernel`), the outputs
(`_output_kernel`). Backward: each chunk's share of the gradient of the state before it, the gradients of the states
between chunks, and the rest (`_gradient_kernel`), which walks a chunk there and back with its states in registers. In
each of them a thread owns its channels, takes one of the N states after the other, and has a chunk's steps unrolled.
Sums over channels, and over chunks, are written in parts that torch adds up: no atomics, the same numbers every run.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.selective_scan.chunks import num_slots, offsets

__all__ = ["CHUNK", "backward", "forward"]

CHUNK = 16
_WIDE, _NARROW = 64, 32  # channels of a program, which is one warp: the gradients want twice the registers
_CARRIED = 128  # entries of the state (N, Di) that a program of the carry owns
_GROUP = 8  # chunks whose loads overlap in the carry
_LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def _chunk(first_ptr, owner_ptr, L, CHUNK: tl.constexpr, PACKED: tl.constexpr, REVERSE: tl.constexpr):
    """Return this program's slot, the token of its chunk's first step, the way to the next, and how many steps."""
    program = tl.program_id(0).to(tl.int64)
    if PACKED:
        s = tl.load(owner_ptr + program)
        begin = tl.load(first_ptr + s)
        end = tl.load(first_ptr + s + 1)
        c = program - (begin // CHUNK + s)
    else:
        chunks = tl.cdiv(L, CHUNK)
        s = program // chunks
        begin = s * L
        end = begin + L
        c = program % chunks
    slot = begin // CHUNK + s + c
    steps = tl.minimum(end - begin - c * CHUNK, CHUNK)
    way = -1 if REVERSE else 1
    return slot, (end - 1 if REVERSE else begin) + way * c * CHUNK, way, steps


@triton.jit
def _row(ptr, stride, token, way, steps, channels, inside, i: tl.constexpr):
    """Return a step's entries (P,); 0 beyond the chunk's last step, which leaves states alone."""
    return tl.load(ptr + (token + way * i) * stride + channels, mask=inside & (i < steps), other=0.0).to(tl.float32)


@triton.jit
def _rows(ptr, stride, token, way, steps, channels, inside, CHUNK: tl.constexpr):
    """Return a chunk's steps as a tuple."""
    rows = ()
    for i in tl.static_range(CHUNK):
        rows += (_row(ptr, stride, token, way, steps, channels, inside, i),)
    return rows


@triton.jit
def _number(ptr, stride, token, way, steps, n, i: tl.constexpr):
    """Return B or C of one step and one state."""
    return tl.load(ptr + (token + way * i) * stride + n, mask=i < steps, other=0.0).to(tl.float32)


@triton.jit
def _local_kernel(
    x_ptr, dt_ptr, A_ptr, B_ptr, ends_ptr, totals_ptr, first_ptr, owner_ptr,
    x_stride, dt_stride, B_stride, Di, N, L,
    BACK: tl.constexpr, PACKED: tl.constexpr, REVERSE: tl.constexpr, CHUNK: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """Carry a state of zero over a chunk: forward from the inputs x and B, or back from the gradients dy and C."""
    slot, token, way, steps = _chunk(first_ptr, owner_ptr, L, CHUNK, PACKED, REVERSE)
    if steps <= 0:
        return
    channels = tl.program_id(1) * P + tl.arange(0, P)
    inside = channels < Di
    x = _rows(x_ptr, x_stride, token, way, steps, channels, inside, CHUNK)
    dt = _rows(dt_ptr, dt_stride, token, way, steps, channels, inside, CHUNK)
    inputs = ()
    total = tl.zeros((P,), tl.float32)
    for i in tl.static_range(CHUNK):
        total += dt[i]
        inputs += (x[i] if BACK else dt[i] * x[i],)
    for n in range(N):
        rate = tl.load(A_ptr + channels * N + n, mask=inside, other=0.0) * _LOG2E
        h = tl.zeros((P,), tl.float32)
        for i in tl.static_range(CHUNK - 1 if BACK else 0, -1 if BACK else CHUNK, -1 if BACK else 1):
            decay = tl.exp2(dt[i] * rate)
            entry = inputs[i] * _number(B_ptr, B_stride, token, way, steps, n, i)
            h = decay * (h + entry) if BACK else decay * h + entry
        tl.store(ends_ptr + (slot * N + n) * Di + channels, h, mask=inside)
    tl.store(totals_ptr + slot * Di + channels, total, mask=inside)


@triton.jit
def _carry_kernel(
    states_ptr, totals_ptr, A_ptr, initial_ptr, final_ptr, first_ptr, Di, N, L,
    BACK: tl.constexpr, PACKED: tl.constexpr, CHUNK: tl.constexpr, GROUP: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """Replace what each chunk adds to the state by the state that it starts from (going back: that it ends with)."""
    s = tl.program_id(0).to(tl.int64)
    begin, end = s * L, (s + 1) * L
    if PACKED:
        begin = tl.load(first_ptr + s)
        end = tl.load(first_ptr + s + 1)
    slot = begin // CHUNK + s
    chunks = tl.cdiv(end - begin, CHUNK)
    entries = tl.program_id(1) * P + tl.arange(0, P)  # of (N, Di)
    inside = entries < N * Di
    n, channel = entries // Di, entries % Di
    rate = tl.load(A_ptr + channel * N + n, mask=inside, other=0.0) * _LOG2E
    place = (s * Di + channel) * N + n
    state = tl.load(initial_ptr + place, mask=inside, other=0.0)
    for base in range(0, chunks, GROUP):
        added, totals = (), ()
        for j in tl.static_range(GROUP):  # all loads before the first store, so that they overlap
            c = chunks - 1 - base - j if BACK else base + j
            here = inside & (base + j < chunks)
            added += (tl.load(states_ptr + (slot + c) * N * Di + entries, mask=here, other=0.0),)
            totals += (tl.load(totals_ptr + (slot + c) * Di + channel, mask=here, other=0.0),)
        for j in tl.static_range(GROUP):
            c = chunks - 1 - base - j if BACK else base + j
            tl.store(states_ptr + (slot + c) * N * Di + entries, state, mask=inside & (base + j < chunks))
            state = tl.exp2(totals[j] * rate) * state + added[j]
    tl.store(final_ptr + place, state, mask=inside)


@triton.jit
def _output_kernel(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, gate_ptr, starts_ptr, y_ptr, first_ptr, owner_ptr,
    x_stride, dt_stride, B_stride, C_stride, gate_stride, Di, N, L,
    HAS_SKIP: tl.constexpr, HAS_GATE: tl.constexpr, PACKED: tl.constexpr, REVERSE: tl.constexpr, CHUNK: tl.constexpr,
    P: tl.constexpr,
):  # fmt: skip
    slot, token, way, steps = _chunk(first_ptr, owner_ptr, L, CHUNK, PACKED, REVERSE)
    if steps <= 0:
        return
    channels = tl.program_id(1) * P + tl.arange(0, P)
    inside = channels < Di
    x = _rows(x_ptr, x_stride, token, way, steps, channels, inside, CHUNK)
    dt = _rows(dt_ptr, dt_stride, token, way, steps, channels, inside, CHUNK)
    skip = tl.zeros((P,), tl.float32)
    if HAS_SKIP:
        skip += tl.load(D_ptr + channels, mask=inside, other=0.0)
    y, inputs = (), ()
    for i in tl.static_range(CHUNK):
        y += (skip * x[i],)
        inputs += (dt[i] * x[i],)
    for n in range(N):
        rate = tl.load(A_ptr + channels * N + n, mask=inside, other=0.0) * _LOG2E
        h = tl.load(starts_ptr + (slot * N + n) * Di + channels, mask=inside, other=0.0)
        outs = ()
        for i in tl.static_range(CHUNK):
            h = tl.exp2(dt[i] * rate) * h + inputs[i] * _number(B_ptr, B_stride, token, way, steps, n, i)
            outs += (y[i] + h * _number(C_ptr, C_stride, token, way, steps, n, i),)
        y = outs
    for i in tl.static_range(CHUNK):
        here = inside & (i < steps)
        out = y[i]
        if HAS_GATE:
            z = _row(gate_ptr, gate_stride, token, way, steps, channels, inside, i)
            out *= z * tl.sigmoid(z)
        tl.store(y_ptr + (token + way * i) * Di + channels, out, mask=here)


@triton.jit
def _gradient_kernel(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, dy_ptr, starts_ptr, ends_ptr,
    dx_ptr, ddt_ptr, dB_ptr, dC_ptr, dD_ptr, first_ptr, owner_ptr,
    x_stride, dt_stride, B_stride, C_stride, dy_stride, T, Di, N, L,
    HAS_SKIP: tl.constexpr, PACKED: tl.constexpr, REVERSE: tl.constexpr, CHUNK: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """Write a chunk's gradients; that of A takes the place of the gradient of the chunk's last state."""
    slot, token, way, steps = _chunk(first_ptr, owner_ptr, L, CHUNK, PACKED, REVERSE)
    if steps <= 0:
        return
    block = tl.program_id(1).to(tl.int64)
    channels = block * P + tl.arange(0, P)
    inside = channels < Di
    x = _rows(x_ptr, x_stride, token, way, steps, channels, inside, CHUNK)
    dt = _rows(dt_ptr, dt_stride, token, way, steps, channels, inside, CHUNK)
    dy = _rows(dy_ptr, dy_stride, token, way, steps, channels, inside, CHUNK)
    zero = tl.zeros((P,), tl.float32)
    dinput, drate = (zero,) * CHUNK, (zero,) * CHUNK
    for n in range(N):
        rate = tl.load(A_ptr + channels * N + n, mask=inside, other=0.0) * _LOG2E
        place = (slot * N + n) * Di + channels
        h = tl.load(starts_ptr + place, mask=inside, other=0.0)
        decays, before = (), ()
        for i in tl.static_range(CHUNK):
            at = (block * T + token + way * i) * N + n
            decays += (tl.exp2(dt[i] * rate),)
            before += (h,)
            h = decays[i] * h + dt[i] * x[i] * _number(B_ptr, B_stride, token, way, steps, n, i)
            tl.store(dC_ptr + at, tl.sum(dy[i] * h, 0), mask=i < steps)
        dh = tl.load(ends_ptr + place, mask=inside, other=0.0)
        dA = zero
        dinputs, drates = (), ()
        for i in tl.static_range(CHUNK - 1, -1, -1):
            at = (block * T + token + way * i) * N + n
            dh += dy[i] * _number(C_ptr, C_stride, token, way, steps, n, i)
            tl.store(dB_ptr + at, tl.sum(dh * dt[i] * x[i], 0), mask=i < steps)
            dinputs = (dinput[i] + dh * _number(B_ptr, B_stride, token, way, steps, n, i),) + dinputs  # noqa: RUF005
            dh *= decays[i]
            dexponent = dh * before[i]
            drates = (drate[i] + dexponent * rate,) + drates  # noqa: RUF005
            dA += dexponent * dt[i]
        dinput, drate = dinputs, drates
        tl.store(ends_ptr + place, dA, mask=inside)
    skip, dD = zero, zero
    if HAS_SKIP:
        skip += tl.load(D_ptr + channels, mask=inside, other=0.0)
    for i in tl.static_range(CHUNK):
        here = inside & (i < steps)
        row = (token + way * i) * Di + channels
        tl.store(dx_ptr + row, dinput[i] * dt[i] + skip * dy[i], mask=here)
        tl.store(ddt_ptr + row, dinput[i] * x[i] + drate[i] / _LOG2E, mask=here)
        dD += dy[i] * x[i]
    if HAS_SKIP:
        tl.store(dD_ptr + slot * Di + channels, dD, mask=inside)


def forward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, gate: Tensor | None, state: Tensor,
    cu_seqlens: Tensor | None, reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the outputs (Bt, L, Di), the last states (S, Di, N), and the states before chunks (slots, N, Di)."""
    A, D = A.contiguous(), None if D is None else D.contiguous()
    y, final = x.new_empty(x.shape), state.new_empty(state.shape)
    starts = state.new_zeros(num_slots(x, cu_seqlens, CHUNK), *A.T.shape)  # some slots stay empty
    if x.numel():
        grid = _Grid.of(x, cu_seqlens, reverse)
        _states_between_chunks(grid, x, dt, A, B, state.contiguous(), starts, final, back=False)
        _outputs(grid, x, dt, A, B, C, D, gate, starts, y)
    return y, final, starts


def backward(
    dy: Tensor, dfinal: Tensor, starts: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, gate: Tensor | None, cu_seqlens: Tensor | None, reverse: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the gradients of x, dt, A, B, C, D, gate and state; those of what is None are empty."""
    A, D = A.contiguous(), None if D is None else D.contiguous()
    (Di, N), T, blocks = A.shape, x.shape[0] * x.shape[1], triton.cdiv(x.shape[2], _NARROW)
    dx, ddt, dgate = x.new_empty(x.shape), dt.new_empty(dt.shape), x.new_empty(0)
    dB, dC = (A.new_zeros(blocks, T, N) for _ in range(2))
    dD = A.new_zeros(len(starts), 0 if D is None else Di)
    ends, dstate = torch.zeros_like(starts), dfinal.new_empty(dfinal.shape)
    if x.numel():
        grid = _Grid.of(x, cu_seqlens, reverse)
        if gate is not None:
            y = A.new_empty(x.shape)
            _outputs(grid, x, dt, A, B, C, D, None, starts, y)
            dgate = torch.ops.aten.silu_backward(dy * y, gate.to(A.dtype)).to(gate.dtype)
            dy = dy * F.silu(gate.to(A.dtype))
        _states_between_chunks(grid, dy, dt, A, C, dfinal.contiguous(), ends, dstate, back=True)
        (x_, xs), (dt_, dts), (B_, Bs), (C_, Cs), (dy_, dys) = map(_rows_of, (x, dt, B, C, dy))
        _gradient_kernel[grid.programs, blocks](
            x_, dt_, A, B_, C_, D, dy_, starts, ends, dx, ddt, dB, dC, dD, grid.first, grid.owner,
            xs, dts, Bs, Cs, dys, T, Di, N, grid.L, HAS_SKIP=D is not None, REVERSE=reverse, P=_NARROW,
            **grid.constants,
        )  # fmt: skip
    dB, dC = dB.sum(0).view(B.shape).to(B.dtype), dC.sum(0).view(C.shape).to(C.dtype)
    return dx, ddt, ends.sum(0).T.contiguous(), dB, dC, dD.sum(0), dgate, dstate


def _states_between_chunks(
    grid: "_Grid", x: Tensor, dt: Tensor, A: Tensor, B: Tensor, initial: Tensor, states: Tensor, final: Tensor,
    *, back: bool,
) -> None:  # fmt: skip
    """Fill the states before chunks (slots, N, Di) and the final ones (S, Di, N); back: their gradients, of dy and C.

    Going back, what is filled is the gradient of the state behind each chunk, and of the initial one.
    """
    Di, N = A.shape
    totals = states.new_empty(grid.slots, Di)
    (x, xs), (dt, dts), (B, Bs) = map(_rows_of, (x, dt, B))
    _local_kernel[grid.programs, triton.cdiv(Di, _WIDE)](
        x, dt, A, B, states, totals, grid.first, grid.owner, xs, dts, Bs, Di, N, grid.L,
        BACK=back, REVERSE=grid.reverse, P=_WIDE, **grid.constants,
    )  # fmt: skip
    _carry_kernel[len(final), triton.cdiv(N * Di, _CARRIED)](
        states, totals, A, initial, final, grid.first, Di, N, grid.L,
        BACK=back, PACKED=grid.first is not None, CHUNK=CHUNK, GROUP=_GROUP, P=_CARRIED, num_warps=4,
    )  # fmt: skip


def _outputs(
    grid: "_Grid", x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, gate: Tensor | None,
    starts: Tensor, y: Tensor,
) -> None:  # fmt: skip
    """Fill the outputs y (Bt, L, Di)."""
    Di, N = A.shape
    (x, xs), (dt, dts), (B, Bs), (C, Cs), (z, zs) = map(_rows_of, (x, dt, B, C, gate))
    _output_kernel[grid.programs, triton.cdiv(Di, _WIDE)](
        x, dt, A, B, C, D, z, starts, y, grid.first, grid.owner, xs, dts, Bs, Cs, zs, Di, N, grid.L,
        HAS_SKIP=D is not None, HAS_GATE=z is not None, REVERSE=grid.reverse, P=_WIDE, **grid.constants,
    )  # fmt: skip


def _rows_of(tensor: Tensor | None) -> tuple[Tensor | None, int]:
    """Return (Bt, L, .) as rows of adjacent numbers, and the distance between rows."""
    if tensor is None:
        return None, 0
    rows = tensor.flatten(0, 1)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    return rows, rows.stride(0)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the chunks are: how many programs take one each, and where packed sequences begin.

    first (S + 1,) and owner (slots,), the sequence of each slot, are None unless packed.
    """

    programs: int
    slots: int
    L: int
    reverse: bool
    first: Tensor | None
    owner: Tensor | None

    @classmethod
    def of(cls, x: Tensor, cu_seqlens: Tensor | None, reverse: bool) -> Self:
        slots, L = num_slots(x, cu_seqlens, CHUNK), x.shape[1]
        if cu_seqlens is None:
            return cls(len(x) * triton.cdiv(L, CHUNK), slots, L, reverse, None, None)
        first = offsets(x, cu_seqlens)
        index = torch.arange(slots, device=x.device)
        owner = torch.searchsorted(first[:-1] // CHUNK + index[: len(first) - 1], index, right=True) - 1
        return cls(slots, slots, L, reverse, first, owner)

    @property
    def constants(self) -> dict[str, Any]:
        return {"PACKED": self.first is not None, "CHUNK": CHUNK, "num_warps": 1}
