"""Batches depend on seed and step alone."""

from collections import Counter

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from omniform.training.sampler import Batches, StepSampler, derive_seed, read_items


@pytest.mark.parametrize(("size", "batch_size"), [(53, 8), (8, 8), (3, 8), (1, 1), (16, 5)])
def test_every_item_is_met_once_an_epoch(size: int, batch_size: int) -> None:
    sampler = StepSampler(size, batch_size=batch_size, seed=1)
    stream = [index for step in range(size) for index in sampler.batch(step)]
    for epoch in range(batch_size):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_a_batch_is_the_same_whatever_was_asked_before() -> None:
    onward = StepSampler(53, batch_size=8, seed=1)
    batches = [onward.batch(step) for step in range(30)]
    for step in (29, 3, 7, 0):
        assert StepSampler(53, batch_size=8, seed=1).batch(step) == batches[step] == onward.batch(step)


def test_epochs_and_seeds_differ() -> None:
    first = StepSampler(50, batch_size=50, seed=1)
    assert first.batch(0) != first.batch(1)
    assert first.batch(0) != StepSampler(50, batch_size=50, seed=2).batch(0)


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_a_batch(world_size: int) -> None:
    sampler = StepSampler(53, batch_size=8, seed=1)
    for step in range(20):
        shares = [sampler.batch(step, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert {len(share) for share in shares} == {8 // world_size}
        assert Counter(index for share in shares for index in share) == Counter(sampler.batch(step))


def test_derived_seeds_do_not_collide() -> None:
    seeds = {
        derive_seed(seed, step, stream, rank)
        for seed in range(5)
        for step in range(50)
        for stream in ("order", "data", "model", "objective")
        for rank in range(2)
    }
    assert len(seeds) == 5 * 50 * 4 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)


class Jittered(Dataset[torch.Tensor]):
    """Items with random augmentation."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> torch.Tensor:
        return index + torch.rand(2)


def test_augmentation_is_the_same_after_a_restart() -> None:
    sampler = StepSampler(10, batch_size=4, seed=0)
    whole = iter(Batches(Jittered(), sampler))
    batches = [next(whole) for _ in range(6)]
    torch.rand(17)
    restarted = iter(Batches(Jittered(), sampler, start=3))
    for expected in batches[3:]:
        assert torch.equal(next(restarted), expected)


def test_items_are_read_together_where_the_dataset_can() -> None:
    class Together(TensorDataset):
        def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
            return [self.tensors[0][index] + 100 for index in indices]

    assert read_items(Together(torch.arange(5)), [3, 1]).tolist() == [103, 101]
