"""The selective scan in C++: the arguments of `native.cpp`, and the shapes of its results.

Bt batch   L tokens   Di channels   N states a channel   S sequences   T tokens of all
"""

from pathlib import Path

import torch
from torch import Tensor

from omniform_kernels.compiler import Library
from omniform_kernels.selective_scan.chunks import num_slots, offsets

__all__ = ["CHUNK", "LIBRARY", "backward", "forward", "step"]

CHUNK = 32  # native.cpp names it too, and the lanes
_LANES = 32
LIBRARY = Library(Path(__file__).with_name("native.cpp"))


def forward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, gate: Tensor | None, state: Tensor,
    cu_seqlens: Tensor | None, reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the outputs (Bt, L, Di), the last states (S, Di, N), and the states before chunks (slots, N, Di)."""
    Di, N = A.shape
    y, final = x.new_empty(x.shape), state.new_empty(state.shape)
    starts = x.new_zeros(num_slots(x, cu_seqlens, CHUNK), N, Di)  # some slots stay empty
    sequences = (offsets(x, cu_seqlens), len(state), Di, N, int(reverse))
    LIBRARY.call("forward", *_inputs(x, dt, A, B, C, D, gate), *sequences, state.contiguous(), y, final, starts)
    return y, final, starts


def backward(
    dy: Tensor, dfinal: Tensor, starts: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
    D: Tensor | None, gate: Tensor | None, cu_seqlens: Tensor | None, reverse: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the gradients of x, dt, A, B, C, D, gate and state; those of what is None are empty."""
    (Di, N), S = A.shape, len(dfinal)
    groups, slices = _partition(S, Di)
    dx, ddt = x.new_empty(x.shape), x.new_empty(x.shape)
    dgate = x.new_empty(0 if gate is None else x.shape)
    dA, dD = A.new_empty(groups, Di, N), A.new_empty(groups, 0 if D is None else Di)
    dB, dC = B.new_empty(slices, *B.shape), C.new_empty(slices, *C.shape)
    dstate = dfinal.new_empty(dfinal.shape)
    sequences = (offsets(x, cu_seqlens), S, Di, N, int(reverse))
    given = (dy.contiguous(), dfinal.contiguous(), starts)
    results = (dx, ddt, dgate, dA, dD, groups, dB, dC, slices, dstate)
    LIBRARY.call("backward", *_inputs(x, dt, A, B, C, D, gate), *sequences, *given, *results)
    return dx, ddt, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0), dgate, dstate


def step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, gate: Tensor | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the outputs (Bt, 1, Di) of a single token, and the next states (Bt, Di, N)."""
    y, final = x.new_empty(x.shape), state.new_empty(state.shape)
    LIBRARY.call("step", *_inputs(x, dt, A, B, C, D, gate), len(state), *A.shape, state.contiguous(), y, final)
    return y, final


def _inputs(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, gate: Tensor | None
) -> list[Tensor | int | None]:
    D = None if D is None else D.contiguous()
    return [*_rows(x), *_rows(dt), A.contiguous(), *_rows(B), *_rows(C), D, *_rows(gate)]


def _rows(tensor: Tensor | None) -> tuple[Tensor | None, int]:
    """Return (Bt, L, .) as rows of adjacent numbers, which slices of wider rows are, and the distance between rows."""
    if tensor is None:
        return None, 0
    rows = tensor.flatten(0, 1)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    return rows, rows.stride(0)


def _partition(S: int, Di: int) -> tuple[int, int]:
    """Return how many groups of sequences, and slices of the channels, threads share."""
    threads = torch.get_num_threads()
    groups = max(min(S, threads), 1)
    return groups, min(-(-threads // groups), -(-Di // _LANES))
