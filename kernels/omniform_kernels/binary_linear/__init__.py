"""Linear maps whose weights are signs, a bit each, on activations of 8 bits or of one."""

from omniform_kernels.binary_linear.op import binary_linear
from omniform_kernels.binary_linear.reference import Activations, pack_signs, unpack_signs

__all__ = ["Activations", "binary_linear", "pack_signs", "unpack_signs"]
