"""Segment a case by overlapping windows, in memory that grows with the patch and the output.

Shapes: N windows, C channels, K classes; windows (N, C, *patch), without the last axis for networks of planes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, product

import numpy as np
import torch
from torch import Tensor

from omniform.errors import ConfigError, DataError
from omniform_medical.blending import Blend, overlap_of
from omniform_medical.canvas import Canvas
from omniform_medical.plan import Plan
from omniform_medical.prepared import Prepared
from omniform_medical.segmentation import Segmentation

__all__ = ["PADDING", "segment", "window_starts"]

PADDING = 0.0
"""What a window shows beyond the volume, in normalised intensities: the mean, as nnU-Net and MONAI have it."""


@torch.no_grad()
def segment(
    decode: Callable[[Tensor], Tensor],
    prepared: Prepared,
    plan: Plan,
    *,
    classes: int,
    overlap: float,
    mirror: str = "",
    batch: int = 1,
) -> Segmentation:
    """Return class and confidence of every voxel on the file's own grid; outside the box it is surely background.

    Windows of the plan's patch advance along the axis whose open rows take least memory: `K (patch + 1) x` the
    other two sides in float32. Rows that no later window touches are averaged by Gaussian weights, interpolated to the
    file's grid, decided, and given up. What is added up lies where `decode` leaves its probabilities.

    Args:
        decode: windows `(N, C, *patch)` float32 to class probabilities `(N, K, *patch)`.
        prepared: the case.
        plan: whose patch the windows have.
        classes: K.
        overlap: share of a patch that neighbouring windows have in common at least, below 1.
        mirror: canonical axes, such as `"xy"`: probabilities are averaged over all flips along them.
        batch: windows decoded at once.

    Raises:
        ConfigError: `mirror` names the third axis and the plan is one of planes.
        DataError: a probability is not a finite number.
    """
    flips = _flips(mirror, plan)
    shape, patch = prepared.frame.shape, plan.patch
    axis = min(range(3), key=lambda axis: min(patch[axis] + 1, shape[axis]) / shape[axis])
    canvas = Canvas(prepared.frame, axis)
    blend: Blend | None = None
    for starts in _batches(shape, patch, overlap, axis, batch):
        probabilities = _decode(decode, _cut(prepared.image, starts, patch), flips, plan)
        if not torch.isfinite(probabilities.sum()):
            raise DataError(f"the network's probabilities are not finite numbers in {prepared.name}; train it again")
        blend = blend or Blend(shape, patch, axis, classes=classes, device=probabilities.device)
        _absorb(probabilities, starts, axis, blend, canvas)
        del probabilities  # before the next are made
    assert blend is not None
    canvas.paint(blend, shape[axis])
    return Segmentation(prepared.name, canvas.label, canvas.confidence, prepared.like)


def window_starts(size: int, patch: int, overlap: float) -> list[int]:
    """Return where windows start along an axis: evenly spread, the last ends at the border.

    A patch that is larger than the volume starts before it, which then lies in its middle.
    """
    room = size - patch
    if room <= 0:
        return [-(-room // 2)]
    stride = max(1.0, patch * (1 - overlap))
    gaps = math.ceil(room / stride - 1e-9)  # 0.9 x 20 is not quite 18
    return [round(index * room / gaps) for index in range(gaps + 1)]


def _batches(
    shape: Sequence[int], patch: Sequence[int], overlap: float, axis: int, batch: int
) -> Iterator[list[tuple[int, ...]]]:
    """Yield the starts of windows, those along the axis slowest."""
    axes = [window_starts(size, side, overlap) for size, side in zip(shape, patch, strict=True)]
    starts = sorted(product(*axes), key=lambda start: start[axis])
    for first in range(0, len(starts), batch):
        yield starts[first : first + batch]


def _cut(image: np.ndarray, starts: Sequence[Sequence[int]], patch: Sequence[int]) -> Tensor:
    windows = np.full((len(starts), len(image), *patch), PADDING, dtype=np.float32)
    for window, start in zip(windows, starts, strict=True):
        target, source = overlap_of(start, patch, image.shape[1:])
        window[:, *target] = image[:, *source]
    return torch.from_numpy(windows)


def _decode(
    decode: Callable[[Tensor], Tensor], windows: Tensor, flips: Sequence[tuple[int, ...]], plan: Plan
) -> Tensor:
    """Return `(N, K, *patch)` float32, the mean of the windows as they are and of every flip."""
    if plan.rank == 2:
        windows = windows.squeeze(-1)
    total = decode(windows).float()
    for dims in flips:
        total = total + decode(windows.flip(dims)).float().flip(dims)
    mean = total / (1 + len(flips)) if flips else total
    return mean.unsqueeze(-1) if plan.rank == 2 else mean


def _absorb(probabilities: Tensor, starts: Sequence[tuple[int, ...]], axis: int, blend: Blend, canvas: Canvas) -> None:
    for window, start in zip(probabilities, starts, strict=True):
        canvas.paint(blend, start[axis])
        blend.forget(start[axis] - 1)
        blend.add(window, start)


def _flips(mirror: str, plan: Plan) -> list[tuple[int, ...]]:
    """Return every choice of dimensions of a batch of windows to flip along, but for none of them."""
    names = "xyz"[: plan.rank]
    if extra := "".join(sorted(set(mirror) - set(names))):
        raise ConfigError(f"expected mirror of the axes {', '.join(names)} that the network sees, got {extra!r} too")
    dims = sorted(2 + names.index(name) for name in set(mirror))
    return list(chain.from_iterable(combinations(dims, count) for count in range(1, len(dims) + 1)))
