"""Files that are copies of each other, exactly or nearly.

Files are compared as sets of shingles, runs of words, by the Jaccard index. Which pairs to compare is found by MinHash:
equal minima under random hashes are as likely as the index is high (Broder 1997), and rows of them in bands are equal
for near copies almost surely.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from zlib import crc32

import numpy as np

__all__ = ["find_copies", "similarity"]

_SHINGLE = 5  # words
_ROWS, _BANDS = 4, 16  # a pair with an index of 0.85 is found with probability 1 - (1 - 0.85^4)^16 = 0.99999
_NEAR = 0.85  # the index from which files count as copies; that of The Stack (arXiv:2211.15533)
_WORDS = re.compile(rb"\w+")
_GENERATOR = np.random.Generator(np.random.PCG64(1997))
_FACTORS = _GENERATOR.integers(0, 2**63, _ROWS * _BANDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)  # odd
_STEP = np.uint64(0x9E3779B97F4A7C15)


def find_copies(contents: Sequence[bytes]) -> dict[int, int]:
    """Return for each file that is a copy of an earlier one, exactly or nearly, the place of that one.

    Files that are left after these are taken out are no copies of each other.
    """
    copies: dict[int, int] = {}
    first: dict[bytes, int] = {}
    bands: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, content in enumerate(contents):
        original = first.setdefault(hashlib.blake2b(b" ".join(content.split())).digest(), place)
        if original == place:
            keys = _bands(_shingles(content))
            candidates = sorted({other for key in keys for other in bands[key]})
            near = next((other for other in candidates if similarity(content, contents[other]) >= _NEAR), None)
            if near is None:
                for key in keys:
                    bands[key].append(place)
                continue
            original = near
        copies[place] = copies.get(original, original)
    return copies


def similarity(one: bytes, other: bytes) -> float:
    """Return the Jaccard index of two files' shingles, 0 to 1; two without any word are alike if they are equal."""
    first, second = _shingles(one), _shingles(other)
    if not len(first) or not len(second):
        return float(one.split() == other.split())
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def _shingles(content: bytes) -> np.ndarray:
    """Return hashes of the runs of words, sorted, uint64; a file shorter than a run is one run."""
    words = np.fromiter(map(crc32, _WORDS.findall(content)), np.uint64)
    if not len(words):
        return words
    runs = max(1, len(words) - _SHINGLE + 1)
    hashes = np.zeros(runs, np.uint64)
    for offset in range(min(_SHINGLE, len(words))):
        hashes = (hashes ^ words[offset : offset + runs]) * _STEP
        hashes ^= hashes >> np.uint64(29)
    return np.unique(hashes)


def _bands(shingles: np.ndarray) -> list[tuple[int, bytes]]:
    if not len(shingles):
        return []
    mixed = shingles ^ (shingles >> np.uint64(32))
    minima = np.array([(mixed * factor).min() for factor in _FACTORS])
    return [(band, row.tobytes()) for band, row in enumerate(minima.reshape(_BANDS, _ROWS))]
