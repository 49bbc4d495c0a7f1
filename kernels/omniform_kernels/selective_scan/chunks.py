"""Where sequences begin, and where the states before their chunks of steps are kept.

Chunks are counted in the order of the scan. Chunk c of sequence s, which begins at token t of all, lies in the slot
t // chunk + s + c: no two meet, and the number of slots does not depend on where sequences begin.
"""

import torch
from torch import Tensor

from omniform_kernels.checks import sequence_offsets

__all__ = ["num_slots", "offsets"]


def num_slots(x: Tensor, cu_seqlens: Tensor | None, chunk: int) -> int:
    """Return how many states are kept for x (Bt, L, Di)."""
    sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return x.shape[0] * x.shape[1] // chunk + sequences


def offsets(x: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """Return the first token of each sequence in (Bt L,), and the end of the last."""
    Bt, L = x.shape[:2]
    if cu_seqlens is None:
        return torch.arange(Bt + 1, device=x.device) * L
    return sequence_offsets(cu_seqlens, L)
