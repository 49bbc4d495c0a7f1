"""The block-scaled linear map with the weight decoded in C++, for float32 on a CPU."""

from pathlib import Path

import torch
from torch import Tensor

from omniform_kernels.block_linear.formats import Format, levels
from omniform_kernels.compiler import Library

__all__ = ["LIBRARY", "forward"]

LIBRARY = Library(Path(__file__).with_name("native.cpp"))

_FEW = 4  # rows that are multiplied here, a row of the weight at a time
_OUTPUTS = 1024  # whose weights are in floating point at once for more rows


def forward(x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None, format: Format) -> Tensor:
    """Do what the definition does; every tensor is contiguous, floating ones float32."""
    (N, D), (E, half) = x.shape, packed.shape
    P, G = 2 * half, 2 * half // scales.shape[1]
    table, y = torch.tensor(levels(format), dtype=torch.int8), x.new_empty(N, E)
    if N <= _FEW:
        LIBRARY.call("multiply", x, packed, scales, table, bias, y, N, D, E, P, G)
        return y
    for start in range(0, E, _OUTPUTS):
        part = slice(start, min(start + _OUTPUTS, E))
        weight = x.new_empty(part.stop - start, P)
        LIBRARY.call("dequantize", packed[part], scales[part], table, weight, len(weight), P, G)
        torch.mm(x, weight[:, :D].mT, out=y[:, part])
    return y if bias is None else y.add_(bias)
