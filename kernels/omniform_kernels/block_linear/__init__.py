"""Linear maps whose weights are numbers of 4 bits, floating or whole, with a scale for each block."""

from omniform_kernels.block_linear.blocks import dequantize_blocks, quantize_blocks
from omniform_kernels.block_linear.formats import FORMATS, Format, largest, levels, nearest
from omniform_kernels.block_linear.op import block_linear

__all__ = [
    "FORMATS",
    "Format",
    "block_linear",
    "dequantize_blocks",
    "largest",
    "levels",
    "nearest",
    "quantize_blocks",
]
