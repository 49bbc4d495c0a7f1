"""Checks of stateful mixers: chunks equal the whole, old states stay usable, states can be reordered."""

from __future__ import annotations

import torch
from torch import Tensor

from omniform.layout import Layout
from omniform.mixers.base import Mixer
from omniform.testing.subject import build, close, expect, identical, native_axes, state_tensors, tokens

__all__ = ["check_extend", "check_ragged_extend", "check_select", "check_state_is_immutable"]

_LENGTH = 67
_PARTITIONS = ((1,) * 67, (3, 1, 63), (67,), (33, 34), (1, 65, 1), (16, 16, 16, 19), (2, 32, 7, 26))


def check_extend(cls: type[Mixer], dim: int) -> None:
    """`extend` over any partition equals `forward`, with a layout or without."""
    mixer = _recurrent(cls, dim)
    x = tokens(2, _LENGTH, dim)
    expected = mixer(x, _layout(mixer, _LENGTH))
    for partition in _PARTITIONS:
        state = mixer.init_state(2, dtype=x.dtype)
        pieces = []
        for chunk in x.split(partition, dim=1):
            y, state = mixer.extend(chunk, state)
            expect(y.dtype == x.dtype, f"{x.dtype} became {y.dtype}")
            pieces.append(y)
        close(torch.cat(pieces, dim=1), expected, f"chunks of {partition} against the whole")
    last, _ = mixer.extend(x, mixer.init_state(2, dtype=x.dtype), _layout(mixer, _LENGTH))
    close(last, expected, "one chunk with a layout against the whole")


def check_state_is_immutable(cls: type[Mixer], dim: int) -> None:
    """Two continuations of one state do not disturb each other, nor a single bit of it."""
    mixer = _recurrent(cls, dim)
    past, *futures = tokens(2, 4, dim), tokens(2, 3, dim, seed=5), tokens(2, 3, dim, seed=6)
    _, state = mixer.extend(past, mixer.init_state(2, dtype=past.dtype))
    before = [tensor.clone() for tensor in state_tensors(state)]
    for future in (*futures, futures[0]):
        y, after = mixer.extend(future, state)
        y2, _ = mixer.extend(future, after)
        whole = mixer(torch.cat([past, future, future], dim=1), _layout(mixer, 10))
        close(torch.cat([y, y2], dim=1), whole[:, 4:], "a continuation of a state that was continued before")
    for tensor, copy in zip(state_tensors(state), before, strict=True):
        identical(tensor, copy, "a state after extend")


def check_select(cls: type[Mixer], dim: int) -> None:
    """`state.select(index)` holds the sequences of `index`, in that order and as often as they come."""
    mixer = _recurrent(cls, dim)
    past, future = tokens(3, 5, dim), tokens(4, 3, dim, seed=5)
    _, state = mixer.extend(past, mixer.init_state(3, dtype=past.dtype))
    for index in ([2, 0, 0, 1], [1, 2, 0, 2], [1], [0, 1, 2]):
        rows = torch.tensor(index)
        y, after = mixer.extend(future[: len(index)], state.select(rows))
        whole = torch.cat([past[rows], future[: len(index)]], dim=1)
        close(y, mixer(whole, _layout(mixer, 8))[:, 5:], f"after select({index})")
        y, _ = mixer.extend(future[:1], after.select(torch.tensor([0])))
        whole = torch.cat([whole[:1], future[:1]], dim=1)
        close(y, mixer(whole, _layout(mixer, 11))[:, 8:], f"after select({index}), a chunk and another select")


def check_ragged_extend(cls: type[Mixer], dim: int) -> None:
    """Masked places leave the state as it was: ragged chunks equal each sequence extended alone."""
    mixer = _recurrent(cls, dim)
    masks = [
        torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]]).bool(),
        torch.tensor([[0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]]).bool(),
        torch.ones(4, 2, dtype=torch.bool),
    ]
    chunks = [tokens(*mask.shape, dim, seed=10 + i) for i, mask in enumerate(masks)]
    state = mixer.init_state(4, dtype=torch.float64)
    together: list[Tensor] = []
    for chunk, mask in zip(chunks, masks, strict=True):
        garbage = chunk.masked_fill(~mask[..., None], 1e6)
        y, state = mixer.extend(garbage, state, _layout(mixer, mask.shape[1], mask))
        together.append(y)
    for b in range(4):
        alone = torch.cat([chunk[b, mask[b]] for chunk, mask in zip(chunks, masks, strict=True)])
        got = torch.cat([y[b, mask[b]] for y, mask in zip(together, masks, strict=True)])
        expected = mixer(alone[None], _layout(mixer, len(alone)))[0]
        close(got, expected, f"ragged chunks, sequence {b}")


def _recurrent(cls: type[Mixer], dim: int) -> Mixer:
    return build(cls, dim, (_LENGTH,), causal=True)


def _layout(mixer: Mixer, length: int, mask: Tensor | None = None) -> Layout:
    return Layout((length,), native_axes(mixer.traits, 1), mask=mask)
