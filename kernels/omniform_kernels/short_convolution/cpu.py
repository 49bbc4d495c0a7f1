"""The short convolution as a sum of shifted inputs: no window is ever stored."""

from torch import Tensor

__all__ = ["shifted"]


def shifted(context: Tensor, weight: Tensor) -> Tensor:
    """Convolve (B, K - 1 + L, C), earlier inputs first, to (B, L, C)."""
    K = weight.shape[1]
    L = context.shape[1] - K + 1
    y = context[:, :L] * weight[:, 0]
    for j in range(1, K):
        y = y.addcmul(context[:, j : j + L], weight[:, j])
    return y
