"""The definition of the 8-bit linear map, in exact integers.

Shapes: N tokens, D inputs, E outputs.
"""

import torch
from torch import Tensor

__all__ = ["forward", "outlier_columns", "quantize", "rescale"]

_STEP = 1 / 127
_SMALLEST = 1e-30  # a row of zeros has a scale too


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale max|x| / 127 of each row of x (N, D) as (N,), and round(x / scale) as int8.

    Every form multiplies by 1/127 and by 1/scale, in this order, so that they round alike.
    """
    largest = x.abs().amax(-1) if x.shape[-1] else x.new_zeros(x.shape[:-1])
    scale = largest.clamp(min=_SMALLEST) * _STEP
    return torch.round(x * scale.reciprocal()[:, None]).to(torch.int8), scale


def outlier_columns(x: Tensor, threshold: float) -> Tensor:
    """Return which columns of x (N, D) have an entry of at least `threshold`: (D,) bool."""
    return (x.abs() >= threshold).any(0)


def rescale(products: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """Return what the products (N, E) of whole numbers stand for, in the dtype of `scale` (N,)."""
    y = products.to(scale.dtype) * weight_scale.to(scale.dtype) * scale[:, None]
    return y if bias is None else y + bias.to(scale.dtype)


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, threshold: float | None) -> Tensor:
    """Map x (N, D) by weight (E, D) int8; sums of integers below 2^53 are exact in float64."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    outliers = x.new_zeros(x.shape[1], dtype=torch.bool) if threshold is None else outlier_columns(x, threshold)
    whole, scale = quantize(x.masked_fill(outliers, 0))
    y = rescale(whole.double() @ weight.double().mT, scale, weight_scale, bias)
    return y + (x.masked_fill(~outliers, 0) @ weight.to(x.dtype).mT) * weight_scale.to(x.dtype)
