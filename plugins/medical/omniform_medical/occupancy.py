"""What of a volume holds something: which value stands for nothing, the box around the rest, its moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["Box", "background", "bounding_box", "moments"]

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_ROWS = 8  # planes looked at together, so that no temporary is as large as the volume


def background(channel: np.ndarray) -> float:
    """Return the value of an `(X, Y, Z)` channel that stands for nothing.

    It is zero where all eight corners are zero, as in images from which all but an organ was erased, else the minimum:
    the air of a CT, what a scanner or a registration filled up with.
    """
    corners = channel[np.ix_((0, -1), (0, -1), (0, -1))]
    return float(channel.min()) if corners.any() else 0.0


def bounding_box(image: np.ndarray, empty: Sequence[float], *, margin: int) -> Box:
    """Return `((low, high), ...)` around what is not empty in some channel; all, if nothing is.

    Labels have no say: a case is prepared alike whether they are known or not.

    Args:
        image: `(C, X, Y, Z)`.
        empty: of every channel, the value that stands for nothing.
        margin: voxels kept around the box where there are any.
    """
    shape = image.shape[1:]
    occupied = [np.zeros(size, dtype=bool) for size in shape]
    for channel, value in zip(image, empty, strict=True):
        _mark(occupied, channel, value)
    if not occupied[0].any():
        occupied = [np.ones(size, dtype=bool) for size in shape]
    x, y, z = (_reach(line, margin) for line in occupied)
    return x, y, z


def moments(channel: np.ndarray, empty: float) -> tuple[float, float]:
    """Return mean and standard deviation of the voxels that are not empty; `(empty, 0)` if all are."""
    count = int(sum(int((block != empty).sum()) for _, block in _blocks(channel)))
    if count == 0:
        return empty, 0.0
    mean = sum(block.sum(dtype=np.float64, where=block != empty) for _, block in _blocks(channel)) / count
    # around the mean, not as a difference of squares, which cancels
    squares = sum(np.square(block[block != empty] - mean, dtype=np.float64).sum() for _, block in _blocks(channel))
    return float(mean), float(np.sqrt(squares / count))


def _mark(occupied: list[np.ndarray], array: np.ndarray, empty: float) -> None:
    for where, block in _blocks(array):
        full = block != empty
        for axis, line in enumerate(occupied):
            line[where[axis]] |= full.any(axis=tuple(other for other in range(3) if other != axis))


def _blocks(array: np.ndarray) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Cut an `(X, Y, Z)` array along the axis that is slowest in memory."""
    axis = int(np.argmax(np.abs(array.strides)))
    for start in range(0, array.shape[axis], _ROWS):
        where = tuple(slice(start, start + _ROWS) if each == axis else slice(None) for each in range(3))
        yield where, array[where]


def _reach(line: np.ndarray, margin: int) -> tuple[int, int]:
    full = np.flatnonzero(line)
    return max(int(full[0]) - margin, 0), min(int(full[-1]) + 1 + margin, len(line))
