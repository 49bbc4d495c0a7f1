"""Normalisation of the last axis, fused with the residual sum before it."""

from omniform_kernels.norm.op import layer_norm, rms_norm

__all__ = ["layer_norm", "rms_norm"]
