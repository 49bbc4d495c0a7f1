"""Neighborhood attention in C++: float32 on a CPU, no weights kept for the backward pass."""

from math import prod
from pathlib import Path

import torch
from torch import Tensor

from omniform_kernels.compiler import Library
from omniform_kernels.neighborhood_attention.window import Window

__all__ = ["LIBRARY", "backward", "forward"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))


def forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None, windows: tuple[Window, ...], scale: float
) -> tuple[Tensor, Tensor]:
    """Return the outputs (B, *grid, H, Dv), and the log-sum-exps (B, H, T), infinite where nobody is seen."""
    inputs = _dense(q, k, v, bias, mask)
    out = v.new_empty(v.shape)
    lse = q.new_empty(q.shape[0], q.shape[-2], prod(q.shape[1:-2]))
    LIBRARY.call("forward", _axes(q, windows), *inputs, out, lse, *_sizes(q, v), scale)
    return out, lse


def backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    out: Tensor,
    lse: Tensor,
    windows: tuple[Window, ...],
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of q, k, v and of the bias, empty where there is none."""
    inputs = _dense(q, k, v, bias, mask)
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    dbias = None if bias is None else q.new_zeros(q.shape[0], *bias.shape)
    gradients = (dq, dk, dv, dbias)
    LIBRARY.call("backward", _axes(q, windows), *inputs, dout.contiguous(), out, lse, *gradients, *_sizes(q, v), scale)
    return dq, dk, dv, q.new_empty(0) if dbias is None else dbias.sum(0)


def _dense(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if x is None else x.contiguous() for x in tensors]


def _axes(q: Tensor, windows: tuple[Window, ...]) -> Tensor:
    """Return length, kernel size, dilation, stride and causality of three axes, the first ones trivial below rank 3."""
    axes = [(n, w.size, w.dilation, w.stride, w.causal) for n, w in zip(q.shape[1:-2], windows, strict=True)]
    return torch.tensor([(1, 1, 1, 1, 0)] * (3 - len(axes)) + axes, dtype=torch.int64)


def _sizes(q: Tensor, v: Tensor) -> tuple[int, ...]:
    """Return B, H, D and Dv."""
    return q.shape[0], q.shape[-2], q.shape[-1], v.shape[-1]
