"""Who does what when a ragged batch is decoded: every program gets the same number of tiles of keys, give or take one.

    B sequences   K key heads   W = B K works, sequence by sequence, head by head within   P programs

The tiles of all works form one line, which is cut into P runs of equal length. A run may end in the middle of a work
and go on with the next one; a work's parts are merged afterwards. All of it is computed on the lengths' device, for
whose numbers nothing waits.

Source: Sanovar et al., Lean Attention, arXiv 2405.10480.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Schedule", "schedule"]


class Schedule(NamedTuple):
    """Who does which tiles.

    Attributes:
        works: where each work's tiles start on the line, and where the last one's end, (W + 1,).
        runs: where each program's run starts, and where the last one's ends, (P + 1,).
        first_work: the work in which each run starts, (P,).
        first_run: the run in which each work starts, (W,).

    What program p does of work w is a partial result with a place of its own: p + w, since along the line each step
    goes to a later program, to a later work, or both.
    """

    works: Tensor
    runs: Tensor
    first_work: Tensor
    first_run: Tensor


def schedule(lengths: Tensor, key_heads: int, tile: int, programs: int) -> Schedule:
    """Cut the caches of `lengths` (B,) into tiles of so many keys, and those into runs."""
    tiles = ((lengths + tile - 1) // tile).repeat_interleave(key_heads)
    works = torch.cat([tiles.new_zeros(1), tiles.cumsum(0)])
    index = torch.arange(programs + 1, device=lengths.device)
    runs = index * (works[-1] // programs) + torch.minimum(index, works[-1] % programs)
    first_work = torch.searchsorted(works, runs[:-1], right=True).sub_(1).clamp_(max=len(works) - 2)
    first_run = torch.searchsorted(runs, works[:-1], right=True).sub_(1)
    return Schedule(works, runs, first_work, first_run)
