"""Depthwise convolution with filters as long as the grid."""

from omniform_kernels.long_convolution.op import long_convolution

__all__ = ["long_convolution"]
