"""Batches as a pure function of (seed, step), so that training resumes at a step exactly.

Shapes: N items, B = batch size over all ranks, batch s of rank r of R holds B / R items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

__all__ = ["Batches", "StepSampler", "derive_seed", "read_items"]

_STREAMS = {"order": 0, "data": 1, "model": 2, "objective": 3}


def derive_seed(seed: int, step: int, stream: Literal["order", "data", "model", "objective"], rank: int = 0) -> int:
    """Return a 63-bit seed that is independent for every (seed, step, stream, rank)."""
    state = np.random.SeedSequence((seed, step, _STREAMS[stream], rank)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


class StepSampler:
    """Choose the items of batch `s`: places `s B .. (s + 1) B - 1` of one permutation of the items after another.

    A batch may straddle two epochs; hence every batch is full and every item is met equally often, whatever `N mod B`.

    Attributes:
        size: `N`, the number of items.
        batch_size: `B`, over all ranks.
        seed: of the permutations; epoch `e` is shuffled by `(seed, e)` alone.
    """

    def __init__(self, size: int, *, batch_size: int, seed: int) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> list[int]:
        """Return the items of batch `step` that belong to `rank`; the ranks' shares are disjoint places."""
        start = step * self.batch_size
        places = range(start + rank, start + self.batch_size, world_size)
        return [int(self._permutation(place // self.size)[place % self.size]) for place in places]

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            seed = derive_seed(self.seed, epoch, "order")
            self._epoch, self._order = epoch, np.random.default_rng(seed).permutation(self.size)
        return self._order


class Batches:
    """Yield collated batches without end, from batch `start` on; `before` is called before each is read.

    Torch's default generator is seeded by (seed, step) before the items are read: a dataset that draws from it
    (augmentation) draws the same after a resume.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: StepSampler,
        *,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.dataset = dataset
        self.sampler = sampler
        self.start = start
        self.rank = rank
        self.world_size = world_size
        self.before = before

    def __iter__(self) -> Iterator[Any]:
        step = self.start
        while True:
            if self.before is not None:
                self.before()
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> Any:
        """Read and collate batch `step`."""
        torch.manual_seed(derive_seed(self.sampler.seed, step, "data", self.rank))
        indices = self.sampler.batch(step, rank=self.rank, world_size=self.world_size)
        return read_items(self.dataset, indices)


def read_items(dataset: Dataset[Any], indices: list[int]) -> Any:
    """Read items by `__getitems__` where the dataset has it, one by one otherwise, and collate them."""
    read_many = getattr(dataset, "__getitems__", None)
    return default_collate(read_many(indices) if read_many else [dataset[index] for index in indices])
