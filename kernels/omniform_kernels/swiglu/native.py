"""The gate in C++, built here."""

from pathlib import Path

import torch
from torch import Tensor

from omniform_kernels.compiler import Library

__all__ = ["LIBRARY", "backward", "forward"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))


def forward(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) up for rows (N, C) of adjacent channels."""
    out = gate.new_empty(gate.shape)
    LIBRARY.call("forward", gate, up, out, *gate.shape, gate.stride(0), up.stride(0))
    return out


def backward(dout: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate and up; `dout` is contiguous."""
    dgate, dup = torch.empty_like(dout), torch.empty_like(dout)
    LIBRARY.call("backward", dout, gate, up, dgate, dup, *gate.shape, gate.stride(0), up.stride(0))
    return dgate, dup
