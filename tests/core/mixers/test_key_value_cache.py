"""A cache that grows in place against one that concatenates, over random trees of continuations."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from random import Random

import pytest
import torch
from torch import Tensor

from omniform.mixers.key_value_cache import KeyValueCache


def _empty(batch: int = 2, dtype: torch.dtype = torch.float32) -> KeyValueCache:
    return KeyValueCache(torch.zeros(batch, 3, 0, 4, dtype=dtype), torch.zeros(batch, 3, 0, 4, dtype=dtype))


def _tokens(n: int, seed: int = 0, batch: int = 2) -> tuple[Tensor, Tensor]:
    both = torch.randn(2, batch, 3, n, 4, generator=torch.Generator().manual_seed(seed))
    return both[0], both[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_tree_of_continuations_equals_concatenation(seed: int) -> None:
    draw, living = Random(seed), [(_empty(), *_tokens(0))]
    with torch.no_grad():
        for step in range(150):
            cache, keys, values = draw.choice(living)
            kind = draw.random()
            if kind < 0.7:
                new = _tokens(draw.choice([1, 1, 2, 7]), step)
                grown = cache.append(*new)
                living.append((grown, torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)))
            elif kind < 0.85:
                start, stop = sorted((draw.randint(0, cache.length), draw.randint(0, cache.length)))
                living.append((cache.keep(start, stop), keys[:, :, start:stop], values[:, :, start:stop]))
            else:
                index = torch.tensor([draw.randrange(2), draw.randrange(2)])
                living.append((cache.select(index), keys[index], values[index]))
            del cache
            while len(living) > 12:
                living.pop(draw.randrange(len(living)))
            for cache, keys, values in living:
                assert torch.equal(cache.keys, keys)
                assert torch.equal(cache.values, values)


def test_appending_copies_each_token_a_fixed_number_of_times() -> None:
    with torch.no_grad():
        cache, places = _empty(), set()
        for step in range(1000):
            cache = cache.append(*_tokens(1, step))
            places.add(cache.keys.data_ptr())
    assert len(places) <= 11


def test_a_second_continuation_does_not_disturb_the_first() -> None:
    with torch.no_grad():
        past = _empty().append(*_tokens(3))
        first = past.append(*_tokens(1, 1))
        second = past.append(*_tokens(1, 2))
    assert first.keys.data_ptr() == past.keys.data_ptr() != second.keys.data_ptr()
    assert torch.equal(first.keys[:, :, 3:], _tokens(1, 1)[0])
    assert torch.equal(second.keys[:, :, 3:], _tokens(1, 2)[0])


def test_what_was_thrown_away_leaves_its_room() -> None:
    with torch.no_grad():
        past = _empty().append(*_tokens(3))
        past.append(*_tokens(1, 1))
        gc.collect()
        assert past.append(*_tokens(1, 2)).keys.data_ptr() == past.keys.data_ptr()


def test_gradients_flow_and_nothing_is_written_in_place() -> None:
    past = _empty().append(*_tokens(3))
    new = _tokens(2, 1)[0].requires_grad_()
    grown = past.append(new, new)
    grown.keys.square().sum().backward()
    assert torch.equal(new.grad, 2 * new)  # type: ignore[arg-type]
    with torch.no_grad():
        roomy = past.append(*_tokens(1, 2))
    assert roomy.append(new, new).keys.data_ptr() != roomy.keys.data_ptr()


def test_a_cache_goes_in_and_out_of_inference_mode() -> None:
    modes = [torch.inference_mode, torch.no_grad, torch.inference_mode, torch.no_grad, torch.inference_mode]
    cache, expected = _empty(), _tokens(0)[0]
    for step, mode in enumerate(modes):
        new = _tokens(2, step)
        with mode():
            cache = cache.append(*new)
        expected = torch.cat([expected, new[0]], 2)
        assert torch.equal(cache.keys, expected)


def test_threads_that_go_on_from_one_past_do_not_disturb_each_other() -> None:
    with torch.no_grad():
        past = _empty().append(*_tokens(50))

    def go_on(seed: int) -> bool:
        with torch.no_grad():  # which is a thread's own
            cache, expected = past, past.keys
            for step in range(30):
                new = _tokens(1, 100 * seed + step)
                cache, expected = cache.append(*new), torch.cat([expected, new[0]], 2)
        return torch.equal(cache.keys, expected)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(go_on, range(16)))


def test_an_empty_cache_takes_the_dtype_of_what_comes_and_a_full_one_the_wider() -> None:
    half = [part.bfloat16() for part in _tokens(2)]
    with torch.no_grad():
        cache = _empty().append(half[0], half[1])
        assert cache.keys.dtype == torch.bfloat16
        wide = cache.append(*_tokens(1, 1))
    assert wide.keys.dtype == torch.float32
    assert torch.equal(wide.keys[:, :, :2], half[0].float())


def test_a_copy_is_a_cache_of_its_own() -> None:
    with torch.no_grad():
        past = _empty().append(*_tokens(3))
        twin = deepcopy(past)
        first, second = past.append(*_tokens(1, 1)), twin.append(*_tokens(1, 2))
    assert torch.equal(first.keys[:, :, 3:], _tokens(1, 1)[0])
    assert torch.equal(second.keys[:, :, 3:], _tokens(1, 2)[0])
