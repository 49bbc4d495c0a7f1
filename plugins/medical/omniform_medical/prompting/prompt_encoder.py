"""The prompt encoder of SAM: points and boxes become tokens.

Shapes: B batch, P points, E width, S side of the image, `(h, w)` tokens of the image.

Attributes are named as in transformers' checkpoints, whose weights load as they are. Mask prompts are left out.
"""

from __future__ import annotations

from math import pi
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["OUTSIDE", "PromptEncoder"]

OUTSIDE = -1
"""The label of a point that stands for none; 1 is a point of the object, 0 one of what is around it."""


class FourierPositions(nn.Module):
    """Map places in [0, 1]^2 to `[sin(2 pi G p), cos(2 pi G p)]` with a fixed random matrix G (arXiv 2006.10739)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(2, dim // 2))

    def forward(self, places: Tensor) -> Tensor:
        angles = 2 * pi * ((2 * places - 1).to(self.positional_embedding.dtype) @ self.positional_embedding)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Embed prompts given in pixels of the image, x (columns) before y (rows) (SAM, arXiv 2304.02643)."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.shared_embedding = FourierPositions(dim)
        self.no_mask_embed = nn.Embedding(1, dim)
        self.point_embed = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))  # around, object, two corners
        self.not_a_point_embed = nn.Embedding(1, dim)

    def forward(
        self, *, boxes: Tensor | None = None, points: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return tokens `(B, 2, E)` of boxes, `(B, P + 1, E)` of points, or both.

        Args:
            boxes: `(B, 4)`, x0, y0, x1, y1.
            points: `(B, P, 2)`; without boxes, one that stands for none comes behind them.
            labels: `(B, P)` int64: 1 on the object, 0 around it, `OUTSIDE` for none.
        """
        tokens = []
        if points is not None and labels is not None:
            if boxes is None:
                points = torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1)
                labels = torch.cat([labels, labels.new_full((len(labels), 1), OUTSIDE)], dim=1)
            tokens.append(self._points(points, labels))
        if boxes is not None:
            corners = self._positions(boxes.unflatten(-1, (2, 2)))
            tokens.append(corners + torch.cat([self._kind(2), self._kind(3)]))
        return torch.cat(tokens, dim=1)

    def dense(self, tokens: int) -> Tensor:
        """Return the positions of the image's tokens, `(E, h, w)`."""
        line = (torch.arange(tokens, device=self.no_mask_embed.weight.device) + 0.5) / tokens
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        return self.shared_embedding(torch.stack([columns, rows], dim=-1)).movedim(-1, 0)

    def _points(self, points: Tensor, labels: Tensor) -> Tensor:
        labels = labels[..., None]
        placed = self._positions(points) + self._kind(0).where(labels == 0, self._kind(1))
        return placed.where(labels != OUTSIDE, self.not_a_point_embed.weight)

    def _positions(self, places: Tensor) -> Tensor:
        return self.shared_embedding((places + 0.5) / self.side)  # the middle of the pixel

    def _kind(self, index: int) -> Tensor:
        return cast("nn.Embedding", self.point_embed[index]).weight
