"""The block-scaled linear map with a part of the weight at a time in floating point."""

import torch
from torch import Tensor

from omniform_kernels.block_linear import reference
from omniform_kernels.block_linear.formats import Format

__all__ = ["forward"]

_OUTPUTS = 1024  # whose weights are in floating point at once


def forward(x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, format: Format) -> Tensor:
    """Do what the definition does, with the memory of a part."""
    parts = zip(packed.split(_OUTPUTS), scales.split(_OUTPUTS), strict=True)
    y = torch.cat([reference.forward(x, *part, None, format) for part in parts], 1)
    return y if bias is None else y + bias.to(y.dtype)
