"""The 8-bit linear map in torch's own integer product, which has the processor's 8-bit instructions on a CPU."""

import torch
from torch import Tensor

from omniform_kernels.int8_linear.reference import outlier_columns, quantize, rescale

__all__ = ["add_outliers", "forward", "products"]

_EXACT = 1024  # so many products of two 8-bit numbers sum to less than 2^24, a whole number in float32


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, threshold: float | None) -> Tensor:
    """Do what the definition does, and gather the outlier columns instead of masking the others."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if threshold is None:
        whole, scale = quantize(x)
        return rescale(products(whole, weight), scale, weight_scale, bias)
    outliers = outlier_columns(x, threshold)
    whole, scale = quantize(x.masked_fill(outliers, 0))
    y = rescale(products(whole, weight), scale, weight_scale, bias)
    return add_outliers(y, x, outliers, weight, weight_scale)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Return the exact a (N, D) @ b.T (D, E) of int8 tensors, as int32."""
    if a.device.type == "cpu":
        return torch.ops.aten._int_mm(a, b.mT)
    total = a.new_zeros(a.shape[0], b.shape[0], dtype=torch.int32)
    for part, other in zip(a.split(_EXACT, 1), b.split(_EXACT, 1), strict=True):
        total += (part.float() @ other.float().mT).int()
    return total


def add_outliers(y: Tensor, x: Tensor, outliers: Tensor, weight: Tensor, weight_scale: Tensor) -> Tensor:
    """Return y (N, E) and the product of the outlier columns (D,) bool of x (N, D) with the dequantised weight."""
    columns = outliers.nonzero().squeeze(1)
    part = x[:, columns].to(y.dtype) @ weight[:, columns].to(y.dtype).mT
    return torch.addcmul(y, part, weight_scale.to(y.dtype))
