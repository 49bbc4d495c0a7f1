"""The keys and values of attention, which grow in place as far as nobody can tell.

Shapes: B batch, K key heads, L tokens, n new tokens, C tokens that a buffer has room for, d head width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import RLock
from typing import Self
from weakref import WeakSet

import torch
from torch import Tensor

from omniform.mixers.base import State

__all__ = ["KeyValueCache"]

_CLAIMING = RLock()  # two threads may go on from one state


class _Buffer:
    """Memory that several caches look into; each place is written once while a cache that sees it lives.

    Attributes:
        keys, values: `(B, K, C, d)`.
        filled: where the furthest place that was ever claimed ends.
        tenants: the caches that look into it and still exist.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys = keys
        self.values = values
        self.filled = 0
        self.tenants: WeakSet[KeyValueCache] = WeakSet()

    def has_room(self, stop: int, n: int) -> bool:
        """Tell whether n places behind `stop` exist, may be written and are seen by nobody."""
        if stop + n > self.keys.shape[2]:
            return False
        if self.keys.is_inference() and not torch.is_inference_mode_enabled():
            return False  # torch forbids it
        return stop == self.filled or all(tenant.stop <= stop for tenant in self.tenants)


@dataclass(frozen=True, eq=False)
class KeyValueCache(State):
    """Keys and values of the tokens so far.

    `append` returns a longer cache and leaves this one as it was. Without gradients it writes into spare room behind
    this cache's end, unless a living cache sees that place already; then, and when the room is used up, it copies into
    a buffer of twice the length. So n tokens cost O(n) copies, continuations of one past do not disturb each other, and
    a continuation that was thrown away leaves its room to the next. With gradients, and in compiled graphs, it
    concatenates.

    Attributes:
        keys, values: `(B, K, L, d)`, as a rule views of a buffer.
        buffer: what they are views of; `None` if nothing.
        start: where in it they begin.
    """

    keys: Tensor
    values: Tensor
    buffer: _Buffer | None = None
    start: int = 0

    def __post_init__(self) -> None:
        if self.buffer is not None:
            with _CLAIMING:
                self.buffer.tenants.add(self)

    @property
    def length(self) -> int:
        """L."""
        return self.keys.shape[2]

    @property
    def stop(self) -> int:
        """Where in the buffer they end."""
        return self.start + self.length

    def append(self, keys: Tensor, values: Tensor) -> KeyValueCache:
        """Return the cache with keys and values `(B, K, n, d)` behind its own."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._concatenated(keys, values)
        with _CLAIMING:
            grown = self._claimed(keys.shape[2]) if self._takes(keys, values) else None
        grown = self._moved(keys, values) if grown is None else grown
        grown.keys[:, :, self.length :] = keys
        grown.values[:, :, self.length :] = values
        return grown

    def keep(self, start: int, stop: int) -> KeyValueCache:
        """Return the cache of tokens `start:stop` alone."""
        keys, values = self.keys[:, :, start:stop], self.values[:, :, start:stop]
        return replace(self, keys=keys, values=values, start=self.start + start)

    def select(self, index: Tensor) -> Self:
        """Return the cache of the sequences `index`, in memory of its own."""
        keys, values = (part.index_select(0, index) for part in (self.keys, self.values))
        return replace(self, keys=keys, values=values, buffer=None, start=0)

    def _takes(self, keys: Tensor, values: Tensor) -> bool:
        buffer = self.buffer
        if buffer is None or (buffer.keys.dtype, buffer.values.dtype) != (keys.dtype, values.dtype):
            return False
        return buffer.has_room(self.stop, keys.shape[2])

    def _claimed(self, n: int) -> KeyValueCache:
        buffer, stop = self.buffer, self.stop + n
        assert buffer is not None
        buffer.filled = stop
        keys, values = buffer.keys[:, :, self.start : stop], buffer.values[:, :, self.start : stop]
        return replace(self, keys=keys, values=values)

    def _moved(self, keys: Tensor, values: Tensor) -> KeyValueCache:
        """Return a copy in a new buffer of twice the length, with n places more, yet to be written."""
        total = self.length + keys.shape[2]
        buffer = _Buffer(_room(self.keys, keys, 2 * total), _room(self.values, values, 2 * total))
        grown = KeyValueCache(buffer.keys[:, :, :0], buffer.values[:, :, :0], buffer)._claimed(total)
        grown.keys[:, :, : self.length] = self.keys
        grown.values[:, :, : self.length] = self.values
        return grown

    def _concatenated(self, keys: Tensor, values: Tensor) -> KeyValueCache:
        if not self.length:
            return KeyValueCache(keys, values)
        return KeyValueCache(torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2))


def _room(old: Tensor, new: Tensor, length: int) -> Tensor:
    """Return memory for old and new alike; an empty past has no say in the dtype."""
    dtype = torch.promote_types(old.dtype, new.dtype) if old.numel() else new.dtype
    return new.new_empty(*new.shape[:2], length, new.shape[3], dtype=dtype)
