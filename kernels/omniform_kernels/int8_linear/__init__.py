"""Linear maps of 8-bit weights and activations that are quantised as they come, outlier columns kept apart."""

from omniform_kernels.int8_linear.op import int8_linear, quantize_rows

__all__ = ["int8_linear", "quantize_rows"]
