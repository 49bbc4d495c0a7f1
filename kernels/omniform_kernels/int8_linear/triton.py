"""The 8-bit linear map on a GPU: one program quantises a row, one multiplies a tile of tokens and outputs.

    N tokens   D inputs   E outputs

Products are int8 on the tensor cores with sums in int32; scales and bias are applied before a tile leaves.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from omniform_kernels.int8_linear.cpu import add_outliers
from omniform_kernels.int8_linear.reference import outlier_columns

__all__ = ["forward", "quantize"]

_MAGIC = tl.constexpr(12582912.0)  # 1.5 * 2^23: a sum with it has no fraction left, rounded half to even


@triton.jit
def _quantize_kernel(
    x_ptr, outliers_ptr, whole_ptr, scale_ptr, D,
    HAS_OUTLIERS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    bits = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, D, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * D + columns, mask=columns < D, other=0.0).to(tl.float32)
        if HAS_OUTLIERS:
            x = tl.where(tl.load(outliers_ptr + columns, mask=columns < D, other=0) != 0, 0.0, x)
        bits = tl.maximum(bits, x.to(tl.int32, bitcast=True) & 0x7FFFFFFF)  # in the order of magnitudes, NaN last
    largest = tl.max(bits, 0).to(tl.float32, bitcast=True)
    scale = tl.where(largest < 1e-30, 1e-30, largest) * (1.0 / 127.0)
    tl.store(scale_ptr + row, scale)
    factor = tl.div_rn(1.0, scale)
    for start in range(0, D, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * D + columns, mask=columns < D, other=0.0).to(tl.float32)
        if HAS_OUTLIERS:
            x = tl.where(tl.load(outliers_ptr + columns, mask=columns < D, other=0) != 0, 0.0, x)
        whole = (x * factor + _MAGIC) - _MAGIC
        tl.store(whole_ptr + row * D + columns, whole.to(tl.int8), mask=columns < D)


@triton.jit
def _multiply_kernel(
    whole_ptr, scale_ptr, weight_ptr, weight_scale_ptr, bias_ptr, y_ptr, N, E, D,
    HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    inside, outside = n < N, o < E
    total = tl.zeros((ROWS, COLUMNS), tl.int32)
    for start in range(0, D, BLOCK):
        i = start + tl.arange(0, BLOCK)
        a = tl.load(whole_ptr + n[:, None] * D + i[None, :], mask=inside[:, None] & (i < D)[None, :], other=0)
        b = tl.load(weight_ptr + o[None, :] * D + i[:, None], mask=outside[None, :] & (i < D)[:, None], other=0)
        total = tl.dot(a, b, total, out_dtype=tl.int32)
    y = total.to(tl.float32) * tl.load(weight_scale_ptr + o, mask=outside, other=0.0).to(tl.float32)[None, :]
    y *= tl.load(scale_ptr + n, mask=inside, other=0.0)[:, None]
    if HAS_BIAS:
        y += tl.load(bias_ptr + o, mask=outside, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + n[:, None] * E + o[None, :], y, mask=inside[:, None] & outside[None, :])


def quantize(x: Tensor, outliers: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return each row of x (N, D), contiguous, as int8, zero in the outlier columns (D,) bool, and its scale (N,)."""
    N, D = x.shape
    whole, scale = torch.empty_like(x, dtype=torch.int8), x.new_empty(N, dtype=torch.float32)
    if N:
        block = min(max(triton.next_power_of_2(D), 16), 4096)
        _quantize_kernel[(N,)](
            x, outliers, whole, scale, D, HAS_OUTLIERS=outliers is not None, BLOCK=block,
            num_warps=max(block // 512, 1), enable_fp_fusion=False,  # else x * factor + magic would round once
        )  # fmt: skip
    return whole, scale


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, threshold: float | None) -> Tensor:
    """Do what the definition does; every tensor is contiguous."""
    outliers = None if threshold is None else outlier_columns(x, threshold)
    whole, scale = quantize(x, outliers)
    y = _multiply(whole, scale, weight, weight_scale, bias, x.dtype if outliers is None else torch.float32)
    return y if outliers is None else add_outliers(y, x, outliers, weight, weight_scale)


def _multiply(
    whole: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    (N, D), E = whole.shape, weight.shape[0]
    y = scale.new_empty(N, E, dtype=dtype)
    if N and E:
        rows = min(max(triton.next_power_of_2(N), 16), 128)
        columns = 64 if rows < 64 else 128
        grid = (triton.cdiv(E, columns), triton.cdiv(N, rows))
        _multiply_kernel[grid](
            whole, scale, weight, weight_scale, bias, y, N, E, D,
            HAS_BIAS=bias is not None, ROWS=rows, COLUMNS=columns, BLOCK=128, num_warps=4 if rows < 64 else 8,
            num_stages=3,
        )  # fmt: skip
    return y
