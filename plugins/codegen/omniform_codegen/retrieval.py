"""Copy what followed the longest context like this one.

T = tokens of a text
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["Retrieval"]

_LENGTHS = (16, 8, 4, 2, 1)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_NONE = -1


class Retrieval:
    """Find the last place where the tokens in front stood before, in the file itself or in others, and tell what came.

    Contexts of 16, 8, 4, 2 and 1 tokens are tried in this order, the file's own past before the other files.

    Args:
        texts: arrays of ids, with the end token before and behind.
    """

    def __init__(self, texts: Sequence[np.ndarray]) -> None:
        self._stream = np.concatenate(texts)
        self._index = {length: self._last_places(length) for length in _LENGTHS}

    def follow(self, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for each token but the first what is retrieved, and from a context of what length, both `(T - 1,)`.

        A length of 0 says that nothing was found.
        """
        told = np.full(len(text) - 1, _NONE, dtype=np.int64)
        length_of = np.zeros(len(text) - 1, dtype=np.int64)
        for length in _LENGTHS:
            hashes = _hashes(text[:-1], length)  # of the contexts that end at places length - 1, ...
            at = np.arange(length - 1, len(text) - 1)
            for found, tokens in (self._own(text, hashes, length), self._others(hashes, length)):
                new = found & (length_of[at] == 0)
                told[at[new]], length_of[at[new]] = tokens[new], length
        return told, length_of

    def passage(self, text: np.ndarray, count: int) -> np.ndarray:
        """Return up to `count` tokens that stand behind the longest context like the end of a text."""
        for length in _LENGTHS:
            hashes = _hashes(text, length)
            if not len(hashes):
                continue
            same = np.flatnonzero(hashes[:-1] == hashes[-1])
            if len(same):
                return text[same[-1] + length :][:count]
            keys, places = self._index[length]
            at = np.searchsorted(keys, hashes[-1])
            if at < len(keys) and keys[at] == hashes[-1]:
                return self._stream[places[at] :][:count]
        return text[:0]

    def _own(self, text: np.ndarray, hashes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return whether a context stood before in the text itself, and the token behind its last such place."""
        last: dict[int, int] = {}
        before = np.full(len(hashes), _NONE, dtype=np.int64)
        for place, key in enumerate(hashes.tolist()):
            before[place] = last.get(key, _NONE)
            last[key] = place
        return before >= 0, text[np.where(before >= 0, before + length, 0)]

    def _others(self, hashes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        keys, places = self._index[length]
        if not len(keys):
            return np.zeros(len(hashes), dtype=bool), np.zeros(len(hashes), dtype=np.int64)
        at = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        return keys[at] == hashes, self._stream[places[at]]

    def _last_places(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the hashes of all contexts, sorted, and the place behind the last occurrence of each."""
        hashes = _hashes(self._stream[:-1], length)
        keys, first = np.unique(hashes[::-1], return_index=True)
        return keys, len(hashes) - 1 - first + length


def _hashes(text: np.ndarray, length: int) -> np.ndarray:
    """Return a 64-bit hash of every `length` tokens in a row."""
    count = max(len(text) - length + 1, 0)
    total = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        total = (total * _FACTOR + text[place : place + count].astype(np.uint64) + np.uint64(1)) * _FACTOR
        total ^= total >> np.uint64(29)
    return total
