"""The short convolution in C++: float32 on a CPU, one pass forward and one backward, which computes outputs again."""

from pathlib import Path

import torch
from torch import Tensor

from omniform_kernels.compiler import Library

__all__ = ["LIBRARY", "backward", "forward"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, offsets: Tensor | None, silu: bool
) -> Tensor:
    """Return the outputs (B, L, C); x, bias and state are contiguous."""
    y = torch.empty_like(x)
    LIBRARY.call("forward", x, weight.t().contiguous(), bias, state, offsets, y, *_sizes(x, weight, offsets), silu)
    return y


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor | None,
    offsets: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight, bias and state, those of the latter two empty where they are None."""
    taps = weight.t().contiguous()
    dx = torch.empty_like(x)
    dtaps = torch.zeros_like(taps)
    dbias = None if bias is None else torch.zeros_like(bias)
    dstate = None if state is None else torch.empty_like(state)
    sizes = _sizes(x, weight, offsets)
    LIBRARY.call("backward", dy, x, taps, bias, state, offsets, dx, dtaps, dbias, dstate, *sizes, silu)
    none = x.new_empty(0)
    return dx, dtaps.t().contiguous(), none if dbias is None else dbias, none.clone() if dstate is None else dstate


def _sizes(x: Tensor, weight: Tensor, offsets: Tensor | None) -> tuple[int, ...]:
    """Return the number of sequences, L, the number of tokens, C and K."""
    B, L, C = x.shape
    return B if offsets is None else offsets.shape[0] - 1, L, B * L, C, weight.shape[1]
