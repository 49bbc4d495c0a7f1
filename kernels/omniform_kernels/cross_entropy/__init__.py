"""The loss of a linear classifier over a large vocabulary, without its logits."""

from omniform_kernels.cross_entropy.op import cross_entropy

__all__ = ["cross_entropy"]
