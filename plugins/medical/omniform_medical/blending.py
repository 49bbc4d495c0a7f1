"""The weighted mean of overlapping windows, of which only the rows that a later window may touch are kept.

Shapes: K classes, (X, Y, Z) prepared grid; T rows kept along the axis that windows advance on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Blend", "importance", "overlap_of"]

_SIGMA = 1 / 8  # of a patch's side
_LEAST = 1e-3  # weight in the corners, where a Gaussian underflows


def importance(patch: Sequence[int]) -> Tensor:
    """Return `exp(-|x - centre|^2 / (2 (patch / 8)^2))` of `patch`, at least 0.001: MONAI's weights of a window."""
    weight = torch.ones(())
    for size in patch:
        offset = torch.arange(size) - (size - 1) / 2
        weight = weight[..., None] * torch.exp(-(offset**2) / (2 * (_SIGMA * size) ** 2))
    return weight.clamp(min=_LEAST)


def overlap_of(start: Sequence[int], patch: Sequence[int], shape: Sequence[int]) -> tuple[tuple[slice, ...], ...]:
    """Return where a window that may jut out meets the grid: slices of the window, slices of the grid."""
    low = [max(each, 0) for each in start]
    high = [min(each + side, size) for each, side, size in zip(start, patch, shape, strict=True)]
    window = tuple(slice(a - each, b - each) for a, b, each in zip(low, high, start, strict=True))
    return window, tuple(slice(a, b) for a, b in zip(low, high, strict=True))


class Blend:
    """Sum windows into a ring of rows along one axis: row r lies at place `r mod T`, `T = patch + 1`.

    Windows come in the order of their starts along that axis. Rows before the current start are complete; the last of
    them is kept, since an interpolation between rows may need it, and older ones are given up by `forget`.
    """

    def __init__(
        self, shape: Sequence[int], patch: Sequence[int], axis: int, *, classes: int, device: torch.device
    ) -> None:
        self.classes = classes
        self._shape, self._patch, self._axis = shape, patch, axis
        self._thickness = min(patch[axis] + 1, shape[axis])
        grid = [self._thickness if each == axis else size for each, size in enumerate(shape)]
        self._sum = torch.zeros(classes, *grid, device=device)  # (K, X, Y, Z), T along the axis
        self._weight = torch.zeros(*grid, device=device)
        self._importance = importance(patch).to(device)
        self._forgotten = 0

    def add(self, probabilities: Tensor, start: Sequence[int]) -> None:
        """Add a window `(K, *patch)` that starts at this voxel of the grid; what juts out is dropped."""
        window, grid = overlap_of(start, self._patch, self._shape)
        rows = grid[self._axis]
        for place, count, done in self._places(rows.start, rows.stop):
            first = window[self._axis].start + done
            source = self._replace(window, slice(first, first + count))
            target = self._replace(grid, place)
            self._sum[:, *target].addcmul_(probabilities[:, *source], self._importance[source])
            self._weight[target] += self._importance[source]

    def rows(self, index: int, low: int, high: int) -> Tensor:
        """Return the mean probability of a class in complete rows `[low, high)`."""
        parts = [self._replace((slice(None),) * 3, place) for place, _, _ in self._places(low, high)]
        return torch.cat([self._sum[index][part] / self._weight[part] for part in parts], dim=self._axis)

    def forget(self, row: int) -> None:
        """Give up all rows before this one, whose places then serve later rows."""
        for place, _, _ in self._places(self._forgotten, row):
            part = self._replace((slice(None),) * 3, place)
            self._sum[:, *part] = 0
            self._weight[part] = 0
        self._forgotten = max(row, self._forgotten)

    def _places(self, low: int, high: int) -> list[tuple[slice, int, int]]:
        """Return the at most two stretches of the ring that hold rows `[low, high)`, their lengths, the rows before."""
        if high <= low:
            return []
        begin, count = low % self._thickness, high - low
        first = min(count, self._thickness - begin)
        places = [(slice(begin, begin + first), first, 0)]
        if first < count:
            places.append((slice(0, count - first), count - first, first))
        return places

    def _replace(self, slices: tuple[slice, ...], along: slice) -> tuple[slice, ...]:
        return tuple(along if axis == self._axis else each for axis, each in enumerate(slices))
