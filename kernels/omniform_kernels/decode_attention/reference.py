"""The definition: attention to all keys as one part."""

from torch import Tensor

from omniform_kernels.decode_attention.partial import attend_part

__all__ = ["attend"]


def attend(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float) -> Tensor:
    """Attend from q (B, H, D) to k, v (B, S, K, D), with what is added to the scores (B or 1, H or 1, S)."""
    return attend_part(q, k, v, added, scale).out
