"""The binary linear map in torch's own product of 8-bit integers."""

import torch
from torch import Tensor

from omniform_kernels.binary_linear.reference import Activations, quantize, unpack_signs
from omniform_kernels.int8_linear.cpu import products
from omniform_kernels.int8_linear.reference import rescale

__all__ = ["forward"]


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, activations: Activations) -> Tensor:
    """Do what the definition does, in integers of 8 bits."""
    whole, scale = quantize(x.to(torch.promote_types(x.dtype, torch.float32)), activations)
    return rescale(products(whole, unpack_signs(weight, x.shape[1])), scale, weight_scale, bias)
