"""The definition of the block-scaled linear map."""

import torch
from torch import Tensor

from omniform_kernels.block_linear.blocks import dequantize_blocks
from omniform_kernels.block_linear.formats import Format

__all__ = ["forward"]


def forward(x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, format: Format) -> Tensor:
    """Map x (N, D) by the weight (E, D) that the codes and scales stand for."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    y = x @ dequantize_blocks(packed, scales, format, x.shape[1]).to(x.dtype).mT
    return y if bias is None else y + bias.to(x.dtype)
