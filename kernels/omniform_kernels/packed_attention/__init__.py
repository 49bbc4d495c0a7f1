"""Softmax attention within packed sequences: no padding is computed."""

from omniform_kernels.packed_attention.op import ScoreBias, packed_attention

__all__ = ["ScoreBias", "packed_attention"]
