"""The block-scaled linear map on a GPU: codes are decoded in registers and multiplied on the tensor cores.

    N tokens   D inputs   E outputs   P inputs rounded up to whole blocks   G block size

The numbers of a format are whole and small, exact in bfloat16, so that scales are applied to sums instead of weights.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from omniform_kernels.block_linear.formats import Format, mantissa_bits

__all__ = ["forward"]

_WHOLE = tl.constexpr(-1)


@triton.jit
def _level(code, MANTISSA: tl.constexpr):
    """Return the numbers of int32 codes, in units of the least above 0, whole or with MANTISSA bits of mantissa."""
    if MANTISSA == _WHOLE:
        number = (code ^ 8) - 8
    else:
        magnitude = code & 7
        exponent = magnitude >> MANTISSA
        fraction = magnitude & ((1 << MANTISSA) - 1)
        normal = ((1 << MANTISSA) | fraction) << tl.maximum(exponent - 1, 0)
        number = tl.where(exponent > 0, normal, fraction)
        number = tl.where((code & 8) != 0, -number, number)
    return number


@triton.jit
def _multiply_kernel(
    x_ptr, packed_ptr, scales_ptr, bias_ptr, y_ptr, N, E, D, P, G,
    HAS_BIAS: tl.constexpr, MANTISSA: tl.constexpr, UPCAST: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BYTES: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    inside, outside = n < N, o < E
    bytes_in_tile = tl.arange(0, BYTES)
    low = (bytes_in_tile // 16) * 32 + bytes_in_tile % 16  # the inputs in the low halves; 16 further on, in the high
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, P, 2 * BYTES):  # within one block of scales
        at = packed_ptr + o[None, :] * (P // 2) + (start // 2 + bytes_in_tile)[:, None]
        codes = tl.load(at, mask=outside[None, :], other=0).to(tl.int32)
        i = start + low
        row = x_ptr + n[:, None] * D
        a = tl.load(row + i[None, :], mask=inside[:, None] & (i < D)[None, :], other=0.0)
        b = tl.load(row + i[None, :] + 16, mask=inside[:, None] & (i + 16 < D)[None, :], other=0.0)
        if UPCAST:
            a, b = a.to(tl.float32), b.to(tl.float32)
        part = tl.dot(a, _level(codes & 15, MANTISSA).to(a.dtype), input_precision="ieee")
        part = tl.dot(b, _level(codes >> 4, MANTISSA).to(b.dtype), part, input_precision="ieee")
        total += part * tl.load(scales_ptr + o * (P // G) + start // G, mask=outside, other=0.0)[None, :]
    if HAS_BIAS:
        total += tl.load(bias_ptr + o, mask=outside, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + n[:, None] * E + o[None, :], total, mask=inside[:, None] & outside[None, :])


def forward(x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, format: Format) -> Tensor:
    """Do what the definition does; every tensor is contiguous."""
    (N, D), (E, half) = x.shape, packed.shape
    P, G = 2 * half, 2 * half // scales.shape[1]
    y = torch.empty(N, E, dtype=x.dtype, device=x.device)
    bits = mantissa_bits(format)
    if N:
        rows = min(max(triton.next_power_of_2(N), 16), 64)
        columns = 64 if rows < 64 else 128
        _multiply_kernel[(triton.cdiv(E, columns), triton.cdiv(N, rows))](
            x, packed, scales, bias, y, N, E, D, P, G,
            HAS_BIAS=bias is not None, MANTISSA=_WHOLE.value if bits is None else bits,
            UPCAST=triton.knobs.runtime.interpret,  # the interpreter's products of bfloat16 are wrong
            ROWS=rows, COLUMNS=columns, BYTES=_bytes(G), num_warps=4, num_stages=3,
        )  # fmt: skip
    return y


def _bytes(G: int) -> int:
    """Return the bytes of the largest tile of up to 128 inputs that divides a block."""
    return next(size for size in (128, 64, 32) if G % size == 0) // 2
