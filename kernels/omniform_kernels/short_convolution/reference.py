"""The definition of the short convolution: a dot product with every window."""

from torch import Tensor

__all__ = ["windowed"]


def windowed(context: Tensor, weight: Tensor) -> Tensor:
    """Convolve (B, K - 1 + L, C), earlier inputs first, to (B, L, C)."""
    windows = context.unfold(1, weight.shape[1], 1)  # (B, L, C, K)
    return (windows * weight).sum(-1)
