"""Norms on a GPU: one program a row forward, one a group of rows backward.

    N rows   D width   G groups of rows   P = D rounded up to a power of two

A row's mean and reciprocal root mean square are kept, so that the backward pass reads x once. Gradients of weight and
bias are summed by group, then over groups by torch.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["backward", "forward"]


@triton.jit
def _forward_kernel(
    x_ptr, residual_ptr, weight_ptr, bias_ptr, y_ptr, sum_ptr, mean_ptr, rstd_ptr,
    D, eps,
    CENTRED: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr,
    P: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, P)
    inside = columns < D
    x = tl.load(x_ptr + row * D + columns, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        x += tl.load(residual_ptr + row * D + columns, mask=inside, other=0.0).to(tl.float32)
        tl.store(sum_ptr + row * D + columns, x, mask=inside)
    if CENTRED:
        mean = tl.sum(x, 0) / D
        tl.store(mean_ptr + row, mean)
        x = tl.where(inside, x - mean, 0.0)
    rstd = tl.rsqrt(tl.sum(x * x, 0) / D + eps)
    tl.store(rstd_ptr + row, rstd)
    y = x * rstd
    if HAS_WEIGHT:
        y *= tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        y += tl.load(bias_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(y_ptr + row * D + columns, y, mask=inside)


@triton.jit
def _backward_kernel(
    dy_ptr, dsum_ptr, sum_ptr, weight_ptr, mean_ptr, rstd_ptr, dx_ptr, dweight_ptr, dbias_ptr,
    N, D, rows,
    CENTRED: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_WEIGHT: tl.constexpr, HAS_BIAS: tl.constexpr,
    P: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, P)
    inside = columns < D
    dweight = tl.zeros((P,), tl.float32)
    dbias = tl.zeros((P,), tl.float32)
    weight = tl.full((P,), 1.0, tl.float32)
    if HAS_WEIGHT:
        weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    for row in range(group * rows, tl.minimum((group + 1) * rows, N)):
        dy = tl.load(dy_ptr + row * D + columns, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(sum_ptr + row * D + columns, mask=inside, other=0.0).to(tl.float32)
        rstd = tl.load(rstd_ptr + row)
        if CENTRED:
            x -= tl.load(mean_ptr + row)
        unit = tl.where(inside, x * rstd, 0.0)
        dweight += dy * unit
        dbias += dy
        dunit = dy * weight
        dx = dunit - unit * (tl.sum(dunit * unit, 0) / D)
        if CENTRED:
            dx -= tl.sum(dunit, 0) / D
        dx *= rstd
        if HAS_RESIDUAL:
            dx += tl.load(dsum_ptr + row * D + columns, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx_ptr + row * D + columns, dx, mask=inside)
    if HAS_WEIGHT:
        tl.store(dweight_ptr + group * D + columns, dweight, mask=inside)
    if HAS_BIAS:
        tl.store(dbias_ptr + group * D + columns, dbias, mask=inside)


def forward(
    x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y (N, D), x + residual (empty without one), and each row's mean and reciprocal deviation (N,)."""
    N, D = x.shape
    y = torch.empty_like(x)
    total = x.new_empty(0) if residual is None else torch.empty_like(x)
    mean = x.new_empty(N if centred else 0, dtype=torch.float32)
    rstd = x.new_empty(N, dtype=torch.float32)
    if N:
        _forward_kernel[(N,)](
            x, residual, weight, bias, y, total, mean, rstd, D, eps,
            CENTRED=centred, HAS_RESIDUAL=residual is not None, HAS_WEIGHT=weight is not None,
            HAS_BIAS=bias is not None, P=triton.next_power_of_2(D), num_warps=_warps(D),
        )  # fmt: skip
    return y, total, mean, rstd


def backward(
    dy: Tensor, dtotal: Tensor | None, total: Tensor, weight: Tensor | None, has_bias: bool, mean: Tensor,
    rstd: Tensor, centred: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of x (and residual), of the weight and of the bias, empty where there is none."""
    N, D = total.shape
    groups = _groups(total)
    dx = torch.empty_like(total)
    dweight = total.new_zeros(groups if weight is not None else 0, D, dtype=torch.float32)
    dbias = total.new_zeros(groups if has_bias else 0, D, dtype=torch.float32)
    if N:
        _backward_kernel[(groups,)](
            dy, dtotal, total, weight, mean, rstd, dx, dweight, dbias, N, D, triton.cdiv(N, groups),
            CENTRED=centred, HAS_RESIDUAL=dtotal is not None, HAS_WEIGHT=weight is not None, HAS_BIAS=has_bias,
            P=triton.next_power_of_2(D), num_warps=_warps(D),
        )  # fmt: skip
    return dx, dweight.sum(0), dbias.sum(0)


def _groups(x: Tensor) -> int:
    """Return how many programs share the rows: one a multiprocessor, and several under the interpreter, for tests."""
    if x.is_cuda:
        return min(len(x), torch.cuda.get_device_properties(x.device).multi_processor_count) or 1
    return min(len(x), 4) or 1


def _warps(D: int) -> int:
    return min(max(triton.next_power_of_2(D) // 256, 1), 16)
