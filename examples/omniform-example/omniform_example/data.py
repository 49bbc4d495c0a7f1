"""Sequences of bits: a text file with a line of 0 and 1 for each sequence, all of one length."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from omniform.errors import DataError

__all__ = ["MIN_SEQUENCES", "read_bits", "write_bits"]

MIN_SEQUENCES = 10
"""Fewer cannot be split into training, validation and test."""

_SAMPLE_SHAPE = (400, 24)


def read_bits(source: str | Path) -> np.ndarray:
    """Read `(N, L)` bits; `"sample"` is random with two ones to a zero.

    Raises:
        DataError: the file is absent, empty, ragged, or holds anything but 0 and 1.
    """
    if str(source) == "sample":
        return (np.random.default_rng(0).random(_SAMPLE_SHAPE) < 2 / 3).astype(np.int64)
    try:
        lines = Path(source).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected a text file of 0 and 1, or `sample`; cannot read {source}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if set(line) - {"0", "1"} or len(line) != len(lines[0]):
            raise DataError(f"expected {len(lines[0])} characters 0 or 1 a line; line {number} of {source} is {line!r}")
    if not lines:
        raise DataError(f"expected a line of 0 and 1 for each sequence; {source} is empty")
    return np.array([[int(bit) for bit in line] for line in lines], dtype=np.int64)


def write_bits(bits: np.ndarray, path: Path) -> None:
    """Write `(N, L)` bits, all or nothing."""
    draft = path.with_name(path.name + ".part")
    draft.write_text("".join("".join(map(str, row)) + "\n" for row in bits.tolist()), encoding="ascii")
    os.replace(draft, path)
