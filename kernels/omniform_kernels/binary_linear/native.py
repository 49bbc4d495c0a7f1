"""The binary linear map by counting bits in C++, for float32 on a CPU."""

from pathlib import Path

from torch import Tensor

from omniform_kernels.binary_linear import cpu
from omniform_kernels.binary_linear.reference import Activations, quantize
from omniform_kernels.compiler import Library
from omniform_kernels.int8_linear import native as int8

__all__ = ["LIBRARY", "forward"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))

_PLANES: dict[Activations, int] = {"int8": 8, "sign": 1}
_FEW = 64  # rows of 8 bits up to which counting bits beats an 8-bit product with the unpacked weight


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, activations: Activations) -> Tensor:
    """Do what the definition does; every tensor is contiguous, floating ones float32."""
    (N, D), (E, W) = x.shape, weight.shape
    if activations == "int8" and N > _FEW:
        return cpu.forward(x, weight, weight_scale, bias, activations)
    whole, scale = int8.quantize(x) if activations == "int8" else quantize(x, activations)
    y = x.new_empty(N, E)
    LIBRARY.call("multiply", whole, scale, weight, weight_scale, bias, y, N, D, E, W, _PLANES[activations])
    return y
