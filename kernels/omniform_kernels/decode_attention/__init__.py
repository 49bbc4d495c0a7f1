"""Softmax attention of one new token to a cache, in any number of parts."""

from omniform_kernels.decode_attention.op import decode_attention
from omniform_kernels.decode_attention.partial import Partial, attend_part, merge

__all__ = ["Partial", "attend_part", "decode_attention", "merge"]
