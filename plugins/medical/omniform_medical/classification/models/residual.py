"""A small residual network whose four stages are maps at 1, 1/2, 1/4 and 1/8 of the first one's resolution.

Shapes: B batch, D width, H x W places.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BasicBlock", "ResidualStages"]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, projected where shapes differ (ResNet-18's, arXiv 1512.03385)."""

    def __init__(self, in_dim: int, dim: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_dim, dim, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(dim)
        self.second = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(dim)
        projected = stride != 1 or in_dim != dim
        self.shortcut = (
            nn.Sequential(nn.Conv2d(in_dim, dim, 1, stride=stride, bias=False), nn.BatchNorm2d(dim))
            if projected
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class ResidualStages(nn.Module):
    """One block a stage; each stage but the first halves the resolution. Returns all four maps, fine to coarse."""

    def __init__(self, in_dim: int, dims: Sequence[int]) -> None:
        super().__init__()
        first = BasicBlock(in_dim, dims[0])
        self.blocks = nn.ModuleList([first, *(BasicBlock(a, b, stride=2) for a, b in pairwise(dims))])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return tuple(maps)
