"""Linear attention whose state decays, per head or per key channel."""

from omniform_kernels.gated_linear_attention.op import gated_linear_attention

__all__ = ["gated_linear_attention"]
