"""The gate on a GPU: one pass forward, one backward, a program a stretch of a row.

N rows   C channels, in stretches of P
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["backward", "forward"]


@triton.jit
def _forward_kernel(gate_ptr, up_ptr, out_ptr, C, gate_stride, up_stride, P: tl.constexpr):
    row, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * P + tl.arange(0, P)
    inside = columns < C
    gate = tl.load(gate_ptr + row * gate_stride + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + row * up_stride + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * C + columns, gate * tl.sigmoid(gate) * up, mask=inside)


@triton.jit
def _backward_kernel(dout_ptr, gate_ptr, up_ptr, dgate_ptr, dup_ptr, C, gate_stride, up_stride, P: tl.constexpr):
    row, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * P + tl.arange(0, P)
    inside = columns < C
    dout = tl.load(dout_ptr + row * C + columns, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_ptr + row * gate_stride + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + row * up_stride + columns, mask=inside, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    swish = gate * sigmoid
    tl.store(dgate_ptr + row * C + columns, dout * up * (sigmoid + swish * (1 - sigmoid)), mask=inside)
    tl.store(dup_ptr + row * C + columns, dout * swish, mask=inside)


def forward(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) up for rows (N, C) of adjacent channels."""
    N, C = gate.shape
    out = gate.new_empty(N, C)
    P = _stretch(C)
    if out.numel():
        _forward_kernel[(N, triton.cdiv(C, P))](gate, up, out, C, gate.stride(0), up.stride(0), P=P)
    return out


def backward(dout: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate and up; `dout` is contiguous."""
    N, C = gate.shape
    dgate, dup = torch.empty_like(dout), torch.empty_like(dout)
    P = _stretch(C)
    if dout.numel():
        _backward_kernel[(N, triton.cdiv(C, P))](dout, gate, up, dgate, dup, C, gate.stride(0), up.stride(0), P=P)
    return dgate, dup


def _stretch(C: int) -> int:
    return min(triton.next_power_of_2(C), 1024)
