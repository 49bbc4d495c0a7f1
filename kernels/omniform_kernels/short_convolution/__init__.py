"""The short causal depthwise convolution in front of recurrent mixers."""

from omniform_kernels.short_convolution.op import short_convolution

__all__ = ["short_convolution"]
