"""Where code is cut off: at random points, so that incomplete statements are what a scanner learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omniform_codegen.scanning.statements import statements

__all__ = ["cut_elsewhere", "cut_library", "cut_within", "window"]

_WINDOW = 2048


def cut_within(code: bytes, marker: int, rng: np.random.Generator) -> bytes:
    """Cut inside the statement that holds `marker`, at it or behind; at the statement's end in half of the cases."""
    end = next(end for start, end in statements(code) if start <= marker <= end)
    return code[: end if rng.random() < 0.5 else rng.integers(marker, end + 1)]


def cut_elsewhere(code: bytes, marker: int, rng: np.random.Generator, *, first: int = 0) -> bytes:
    """Cut where the statement at the cursor lacks what `marker` tells: before it, or in another statement.

    Args:
        first: where the statements begin that may be cut in.
    """
    found = [(start, end) for start, end in statements(code) if start >= first]
    own = next((start, end) for start, end in found if start <= marker <= end)
    if rng.random() < 0.5 and marker - 1 > own[0] + 1:
        return code[: rng.integers(own[0] + 1, marker)]
    others = [span for span in found if span != own] or [(own[0], own[0] + 1)]
    start, end = others[rng.integers(len(others))]
    return code[: end if rng.random() < 0.5 else rng.integers(start + 1, end + 1)]


def cut_library(code: bytes, spans: Sequence[tuple[int, int]], place: int, rng: np.random.Generator) -> bytes:
    """Cut inside of the statement `spans[place]`, and where one of the statements above begins, at most 2 kB away."""
    start, end = spans[place]
    stop = end if rng.random() < 0.5 else int(rng.integers(start + 1, end + 1))
    begin = next(above for above, _ in spans if above >= min(stop - _WINDOW, start))
    return code[code.rfind(b"\n", 0, begin) + 1 : stop]


def window(code: bytes, spans: list[tuple[int, int]], stop: int) -> bytes:
    """Return what a scanner sees of `code[:stop]`: from the first statement on that begins at most 2 kB before."""
    least = stop - _WINDOW
    begin = next((start for start, _ in spans if start >= least), spans[-1][0] if spans else 0)
    begin = min(begin, max((start for start, _ in spans if start < stop), default=0))
    return code[code.rfind(b"\n", 0, begin) + 1 : stop]
