"""The 8-bit linear map for float32 on a CPU: rows are quantised in C++, and many rows are multiplied by oneDNN."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from omniform_kernels.compiler import Library
from omniform_kernels.int8_linear.cpu import add_outliers, products
from omniform_kernels.int8_linear.reference import outlier_columns

__all__ = ["LIBRARY", "forward", "quantize"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))

_FEW = 2  # rows that are multiplied in C++: less work than oneDNN's preparations
_ONEDNN = hasattr(torch.ops.onednn, "qlinear_pointwise") and torch.backends.mkldnn.is_available()
# Weights in oneDNN's own order of entries, with the version that was reordered: 4 ms of work on 2^20 entries.
_reordered = WeakTensorKeyDictionary()


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row of x (N, D), contiguous, as int8, and its scale (N,)."""
    whole, scale = torch.empty_like(x, dtype=torch.int8), x.new_empty(x.shape[0])
    LIBRARY.call("quantize", x, whole, scale, *x.shape)
    return whole, scale


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, threshold: float | None) -> Tensor:
    """Do what the definition does; every tensor is contiguous, floating ones float32."""
    if threshold is None:
        return _multiply(*quantize(x), weight, weight_scale, bias)
    outliers = outlier_columns(x, threshold)
    y = _multiply(*quantize(x.masked_fill(outliers, 0)), weight, weight_scale, bias)
    return add_outliers(y, x, outliers, weight, weight_scale)


def _multiply(whole: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    (N, D), E = whole.shape, weight.shape[0]
    if N <= _FEW:
        y = scale.new_empty(N, E)
        LIBRARY.call("multiply", whole, scale, weight, weight_scale, bias, y, N, D, E)
        return y
    y = _scaled_products(whole, weight, weight_scale)
    LIBRARY.call("rescale", y, scale, bias, N, E)
    return y


def _scaled_products(whole: Tensor, weight: Tensor, weight_scale: Tensor) -> Tensor:
    """Return the exact products (N, E) times the weight's scales, as float32."""
    if not _ONEDNN or weight.is_inference():  # a tensor that does not count its versions
        return products(whole, weight) * weight_scale
    kept = _reordered.get(weight)
    if kept is None or kept[0] != weight._version:
        kept = weight._version, torch.ops.onednn.qlinear_prepack(weight, None)
        _reordered[weight] = kept
    zeros = torch.zeros_like(weight_scale, dtype=torch.int32)
    return torch.ops.onednn.qlinear_pointwise(
        whole, 1.0, 0, kept[1], weight_scale, zeros, None, 1.0, 0, torch.float32, "none", [], "none"
    )
