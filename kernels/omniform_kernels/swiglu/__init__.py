"""The gate of the gated perceptron: silu(gate) * up."""

from omniform_kernels.swiglu.op import swiglu

__all__ = ["swiglu"]
