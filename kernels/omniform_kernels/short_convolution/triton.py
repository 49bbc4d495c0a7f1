"""The short convolution on a GPU: a program a block of tokens and channels, each input read from the caches K times.

    B batch   L tokens   S sequences   C channels   K taps   BL, BC sizes of a block
    x, y (B, L, C)   weight (K, C)   state (S, K - 1, C)

Packed sequences come with the first token of each token's sequence, and the number of that sequence. Backward computes
outputs again where the activation needs them; sums over time are left to torch, one number for each block.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["backward", "forward"]


@triton.jit
def _load(pointer, row, exist, column, C):
    """Load rows (BL, BC) of a matrix C wide, with zeros where there is none."""
    offset = row.to(tl.int64)[:, None] * C + column
    return tl.load(pointer + offset, mask=exist[:, None] & (column < C), other=0.0).to(tl.float32)


@triton.jit
def _load_vector(pointer, row, column, C):
    return tl.load(pointer + row * C + column, mask=column < C, other=0.0).to(tl.float32)


@triton.jit
def _locate(token, exist, first_ptr, sequence_ptr, PACKED: tl.constexpr):
    """Return the first token of each token's sequence, and the number of that."""
    if PACKED:
        first = tl.load(first_ptr + token, mask=exist, other=0)
        sequence = tl.load(sequence_ptr + token, mask=exist, other=0)
    else:
        first = tl.zeros_like(token)
        sequence = first + tl.program_id(2)
    return first, sequence


@triton.jit
def _input(
    x_ptr, state_ptr, token, first, sequence, exist, column, L, C,
    BACK: tl.constexpr, K: tl.constexpr, HAS_STATE: tl.constexpr,
):  # fmt: skip
    """Load what lies BACK tokens before: an input of the same sequence or, before its first, one of its state."""
    source = token - BACK
    x = _load(x_ptr, tl.program_id(2).to(tl.int64) * L + source, exist & (source >= first), column, C)
    if HAS_STATE and BACK > 0:
        slot = sequence.to(tl.int64) * (K - 1) + source - first + (K - 1)
        x += _load(state_ptr, slot, exist & (source < first), column, C)
    return x


@triton.jit
def _convolve(
    x_ptr, weight_ptr, bias_ptr, state_ptr, token, first, sequence, exist, column, L, C,
    K: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_STATE: tl.constexpr, BL: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    z = tl.zeros((BL, BC), tl.float32)
    if HAS_BIAS:
        z += _load_vector(bias_ptr, 0, column, C)
    for j in tl.static_range(K):
        x = _input(x_ptr, state_ptr, token, first, sequence, exist, column, L, C, K - 1 - j, K, HAS_STATE)
        z += x * _load_vector(weight_ptr, j, column, C)
    return z


@triton.jit
def _slope(z):
    """Return the derivative of SiLU."""
    gate = tl.sigmoid(z)
    return gate * (1 + z * (1 - gate))


@triton.jit
def _forward_kernel(
    x_ptr, weight_ptr, bias_ptr, state_ptr, first_ptr, sequence_ptr, y_ptr, L, C,
    K: tl.constexpr, SILU: tl.constexpr, PACKED: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_STATE: tl.constexpr,
    BL: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0) * BL + tl.arange(0, BL)
    column = tl.program_id(1) * BC + tl.arange(0, BC)
    exist = token < L
    first, sequence = _locate(token, exist, first_ptr, sequence_ptr, PACKED)
    y = _convolve(
        x_ptr, weight_ptr, bias_ptr, state_ptr, token, first, sequence, exist, column, L, C,
        K, HAS_BIAS, HAS_STATE, BL, BC,
    )  # fmt: skip
    if SILU:
        y *= tl.sigmoid(y)
    row = tl.program_id(2).to(tl.int64) * L + token
    tl.store(y_ptr + row[:, None] * C + column, y, mask=exist[:, None] & (column < C))


@triton.jit
def _backward_kernel(
    dy_ptr, x_ptr, weight_ptr, bias_ptr, state_ptr, first_ptr, sequence_ptr, dx_ptr, dweight_ptr, dbias_ptr, L, C,
    K: tl.constexpr, SILU: tl.constexpr, PACKED: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_STATE: tl.constexpr,
    BL: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0) * BL + tl.arange(0, BL)
    column = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = column < C
    batch = tl.program_id(2).to(tl.int64)
    dx = tl.zeros((BL, BC), tl.float32)
    for ahead in tl.static_range(K):
        later = token + ahead
        exist = later < L
        first, sequence = _locate(later, exist, first_ptr, sequence_ptr, PACKED)
        dz = _load(dy_ptr, batch * L + later, exist & (first <= token), column, C)
        if SILU:
            z = _convolve(
                x_ptr, weight_ptr, bias_ptr, state_ptr, later, first, sequence, exist, column, L, C,
                K, HAS_BIAS, HAS_STATE, BL, BC,
            )  # fmt: skip
            dz *= _slope(z)
        dx += dz * _load_vector(weight_ptr, K - 1 - ahead, column, C)
        if ahead == 0:
            group = (batch * tl.num_programs(0) + tl.program_id(0)) * C
            if HAS_BIAS:
                tl.store(dbias_ptr + group + column, tl.sum(dz, 0), mask=inside)
            for j in tl.static_range(K):
                x = _input(x_ptr, state_ptr, token, first, sequence, exist, column, L, C, K - 1 - j, K, HAS_STATE)
                tl.store(dweight_ptr + group * K + j * C + column, tl.sum(dz * x, 0), mask=inside)
    row = batch * L + token
    tl.store(dx_ptr + row[:, None] * C + column, dx, mask=(token < L)[:, None] & inside)


@triton.jit
def _state_kernel(
    dy_ptr, x_ptr, weight_ptr, bias_ptr, state_ptr, offsets_ptr, dstate_ptr, L, C,
    K: tl.constexpr, SILU: tl.constexpr, PACKED: tl.constexpr, HAS_BIAS: tl.constexpr, KP: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    sequence = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * BC + tl.arange(0, BC)
    inside = column < C
    slot = tl.arange(0, KP)  # one for each row of the state, rounded up
    first = sequence * L
    length = L
    if PACKED:
        first = tl.load(offsets_ptr + sequence)
        length = tl.load(offsets_ptr + sequence + 1) - first
    dstate = tl.zeros((KP, BC), tl.float32)
    for t in tl.static_range(K - 1):
        exist = inside & (t < length)
        dz = tl.load(dy_ptr + (first + t) * C + column, mask=exist, other=0.0).to(tl.float32)
        if SILU:
            z = tl.zeros((BC,), tl.float32)
            if HAS_BIAS:
                z += _load_vector(bias_ptr, 0, column, C)
            for j in tl.static_range(K):
                if t + j < K - 1:
                    x = tl.load(state_ptr + (sequence * (K - 1) + t + j) * C + column, mask=exist, other=0.0)
                else:
                    x = tl.load(x_ptr + (first + t + j - (K - 1)) * C + column, mask=exist, other=0.0)
                z += x.to(tl.float32) * _load_vector(weight_ptr, j, column, C)
            dz *= _slope(z)
        tap = slot - t
        dstate += _load(weight_ptr, tap, (tap >= 0) & (tap < K), column, C) * dz[None, :]
    row = sequence * (K - 1) + slot
    tl.store(dstate_ptr + row[:, None] * C + column, dstate, mask=(slot < K - 1)[:, None] & inside)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, offsets: Tensor | None, silu: bool
) -> Tensor:
    """Return the outputs (B, L, C) in the dtype of x; x, bias and state are contiguous."""
    y = torch.empty_like(x)
    if x.numel():
        programs, options = _plan(x, weight, bias, state, offsets, silu)
        _forward_kernel[programs](
            x, weight.t().contiguous(), bias, state, *_places(x, offsets), y, *x.shape[1:], **options
        )
    return y


def backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, offsets: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight, bias and state, those of the latter two empty where they are None."""
    (L, C), K = x.shape[1:], weight.shape[1]
    taps = weight.t().contiguous()
    dx = torch.empty_like(x)
    dstate = x.new_empty(0) if state is None else torch.empty_like(state)
    programs, options = _plan(x, weight, bias, state, offsets, silu)
    groups = programs[0] * programs[2]
    dtaps = x.new_empty(groups, K, C, dtype=torch.float32)
    dbias = x.new_empty(0 if bias is None else groups, C, dtype=torch.float32)
    if x.numel():
        _backward_kernel[programs](dy, x, taps, bias, state, *_places(x, offsets), dx, dtaps, dbias, L, C, **options)
    if state is not None and state.numel():
        _state_kernel[(programs[1], len(state))](
            dy, x, taps, bias, state, offsets, dstate, L, C, K=K, SILU=silu, PACKED=offsets is not None,
            HAS_BIAS=bias is not None, KP=triton.next_power_of_2(K - 1), BC=options["BC"], num_warps=4,
        )  # fmt: skip
    dweight = dtaps.sum(0).t().to(weight.dtype).contiguous()
    return dx, dweight, x.new_empty(0) if bias is None else dbias.sum(0).to(bias.dtype), dstate


def _plan(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, offsets: Tensor | None, silu: bool
) -> tuple[tuple[int, int, int], dict]:
    """Return the number of programs and what both large kernels are launched with."""
    B, L, C = x.shape
    BL, BC = 32, min(max(triton.next_power_of_2(C), 16), 64)
    options = {
        "K": weight.shape[1], "SILU": silu, "PACKED": offsets is not None, "HAS_BIAS": bias is not None,
        "HAS_STATE": state is not None, "BL": BL, "BC": BC, "num_warps": 8,
    }  # fmt: skip
    return (triton.cdiv(L, BL), triton.cdiv(C, BC), B), options


def _places(x: Tensor, offsets: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return the first token of each token's sequence, and the number of that; None unless packed."""
    if offsets is None:
        return None, None
    token = torch.arange(x.shape[1], device=x.device)
    sequence = torch.searchsorted(offsets, token, right=True) - 1
    return offsets[sequence].int(), sequence.int()
