"""A segmentation on a file's grid, painted row by row as probabilities on the prepared grid are completed.

Shapes: n prepared and b file voxels of the box along an axis; (X, Y, Z) canonical axes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_medical.blending import Blend
from omniform_medical.prepared import Frame

__all__ = ["Canvas"]

_ROWS = 16  # rows of the file painted together


class Canvas:
    """Background with certainty until painted.

    Probabilities are interpolated linearly between the centres of prepared voxels: the file's voxel f of the box lies
    at `(f + 1/2) n / b - 1/2`, the edge repeated (see `Frame`). A class at a time, so that nothing is as large as
    classes x rows.

    Attributes:
        label: `(X, Y, Z)` uint8 on the file's axes: the class that is most probable, the lowest of equals.
        confidence: its probability, uint8, 255 for 1.
    """

    def __init__(self, frame: Frame, axis: int) -> None:
        shape = frame.geometry.shape
        self.label = np.zeros(shape, dtype=np.uint8)
        self.confidence = np.full(shape, 255, dtype=np.uint8)
        box = tuple(slice(low, high) for low, high in frame.box)
        self._views = [frame.canonical(each)[box] for each in (self.label, self.confidence)]
        self._axis = axis
        sizes = [high - low for low, high in frame.box]
        self._same = sizes[axis] == frame.shape[axis]
        self._across = [size for each, size in enumerate(sizes) if each != axis]
        prepared, size = frame.shape[axis], sizes[axis]
        position = np.clip((np.arange(size) + 0.5) * prepared / size - 0.5, 0, prepared - 1)
        self._low = np.floor(position).astype(np.int64)
        self._high = np.ceil(position).astype(np.int64)
        self._share = (position - self._low).astype(np.float32)
        self._painted = 0

    def paint(self, blend: Blend, complete: int) -> None:
        """Paint the rows of the file that need only prepared rows before `complete`."""
        stop = int(np.searchsorted(self._high, complete))
        for first in range(self._painted, stop, _ROWS):
            self._paint(blend, slice(first, min(first + _ROWS, stop)))
        self._painted = max(stop, self._painted)

    def _paint(self, blend: Blend, rows: slice) -> None:
        best = self._probability(blend, 0, rows)
        label = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
        for index in range(1, blend.classes):
            probability = self._probability(blend, index, rows)
            label.masked_fill_(probability > best, index)
            best = torch.maximum(best, probability)
        confidence = (best * 255).round_().clamp_(0, 255).to(torch.uint8)
        where = tuple(rows if axis == self._axis else slice(None) for axis in range(3))
        for view, painted in zip(self._views, (label, confidence), strict=True):
            view[where] = painted.cpu().numpy()

    def _probability(self, blend: Blend, index: int, rows: slice) -> Tensor:
        low, high, share = self._low[rows], self._high[rows], self._share[rows]
        known = blend.rows(index, int(low[0]), int(high[-1]) + 1)
        if not self._same:
            column = [-1 if axis == self._axis else 1 for axis in range(3)]
            below, above = (
                known.index_select(self._axis, torch.from_numpy(each - low[0]).to(known.device)) for each in (low, high)
            )
            known = below.lerp(above, torch.from_numpy(share).to(known.device).view(column))
        planes = known.movedim(self._axis, 0)  # (rows, ...): interpolated across as images are, a channel each
        if list(planes.shape[1:]) != self._across:
            planes = F.interpolate(planes[None], size=self._across, mode="bilinear", align_corners=False)[0]
        return planes.movedim(0, self._axis)
