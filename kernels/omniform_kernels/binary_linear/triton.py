"""The binary linear map on a GPU: bits become signs of 8 bits in registers, multiplied on the tensor cores.

    N tokens   D inputs   E outputs   W words of 32 bits

Counting bits would run on the units for whole numbers, whose rate is a fraction of the tensor cores'.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from omniform_kernels.binary_linear.reference import Activations
from omniform_kernels.binary_linear.reference import quantize as signs_and_scale
from omniform_kernels.int8_linear.triton import quantize

__all__ = ["forward"]


@triton.jit
def _multiply_kernel(
    whole_ptr, scale_ptr, weight_ptr, weight_scale_ptr, bias_ptr, y_ptr, N, E, D, W,
    HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    inside, outside = n < N, o < E
    total = tl.zeros((ROWS, COLUMNS), tl.int32)
    for start in range(0, W, WORDS):
        w = start + tl.arange(0, WORDS)
        words = tl.load(weight_ptr + o[:, None] * W + w[None, :], mask=outside[:, None] & (w < W)[None, :], other=0)
        bits = (words[:, :, None] >> tl.arange(0, 32)[None, None, :]) & 1
        signs = tl.reshape((2 * bits - 1).to(tl.int8), (COLUMNS, WORDS * 32))
        i = start * 32 + tl.arange(0, WORDS * 32)
        a = tl.load(whole_ptr + n[:, None] * D + i[None, :], mask=inside[:, None] & (i < D)[None, :], other=0)
        total = tl.dot(a, tl.trans(signs), total, out_dtype=tl.int32)
    y = total.to(tl.float32) * tl.load(weight_scale_ptr + o, mask=outside, other=0.0).to(tl.float32)[None, :]
    y *= tl.load(scale_ptr + n, mask=inside, other=0.0)[:, None]
    if HAS_BIAS:
        y += tl.load(bias_ptr + o, mask=outside, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + n[:, None] * E + o[None, :], y, mask=inside[:, None] & outside[None, :])


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, activations: Activations) -> Tensor:
    """Do what the definition does; every tensor is contiguous."""
    (N, D), E = x.shape, weight.shape[0]
    whole, scale = quantize(x) if activations == "int8" else signs_and_scale(x.float(), activations)
    y = torch.empty(N, E, dtype=x.dtype, device=x.device)
    words = weight.view(torch.int32)  # the low half first, as on every machine that has such a GPU
    if N and E:
        rows = min(max(triton.next_power_of_2(N), 16), 128)
        columns = 64 if rows < 64 else 128
        _multiply_kernel[(triton.cdiv(E, columns), triton.cdiv(N, rows))](
            whole, scale, words, weight_scale, bias, y, N, E, D, words.shape[1],
            HAS_BIAS=bias is not None, ROWS=rows, COLUMNS=columns, WORDS=4, num_warps=4 if rows < 64 else 8,
            num_stages=3,
        )  # fmt: skip
    return y
