r"""The two-dimensional cosine transform of maps, cut to its low frequencies.

Shapes: B batch, H x W places, h x w kept frequencies, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["CosineTransform", "cosine_matrix"]


def cosine_matrix(size: int, kept: int) -> Tensor:
    r"""Return the first rows of the orthonormal DCT-II as a matrix (kept, size), float64.

    .. math::
        C_{kn} = \sqrt{\tfrac{2 - [k = 0]}{N}} \cos\frac{\pi (2 n + 1) k}{2 N}
    """
    k, n = torch.arange(kept, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)
    scale = (torch.where(k == 0, 1.0, 2.0).double() / size).sqrt()
    return scale * torch.cos(math.pi * (2 * n + 1) * k / (2 * size))


class CosineTransform(nn.Module):
    """Transform maps to their lowest frequencies, and back with all others zero.

    With every frequency kept the two undo each other; with fewer, back and forth is the orthogonal projection to the
    smoothest maps. Cutting and filling with zeros are in the matrices, so that neither costs anything.

    Args:
        grid: H, W.
        kept: h, w.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, grid: tuple[int, int], kept: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("rows", cosine_matrix(grid[0], kept[0]).float(), persistent=False)  # (h, H)
        self.register_buffer("columns", cosine_matrix(grid[1], kept[1]).float(), persistent=False)  # (w, W)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, h, w, D)` coefficients of `(B, H, W, D)`."""
        return torch.einsum("iy,byxd,jx->bijd", self.rows, x, self.columns)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Return `(B, H, W, D)` of coefficients `(B, h, w, D)`."""
        return torch.einsum("iy,bijd,jx->byxd", self.rows, coefficients, self.columns)
