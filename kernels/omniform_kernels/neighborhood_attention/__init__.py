"""Attention to the nearest tokens on a grid, dilated if wanted."""

from omniform_kernels.neighborhood_attention.op import neighborhood_attention

__all__ = ["neighborhood_attention"]
