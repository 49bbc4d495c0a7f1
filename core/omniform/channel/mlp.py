"""The two-layer perceptron of the original Transformer, with GELU."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn
from torch.nn import functional as F

from omniform.channel.base import ChannelMixer
from omniform.layout import Layout
from omniform.mixers.base import Cost

__all__ = ["Mlp"]


class Mlp(ChannelMixer):
    """Map each token through `W2 gelu(W1 x + b1) + b2` (arXiv 1706.03762, GELU from 1606.08415)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(dim, hidden)
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return self.down(F.gelu(self.up(x)))  # (B, *grid, D)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        weights = 2 * self.dim * self.hidden
        return Cost(parameters=weights + self.hidden + self.dim, flops=2 * weights * prod(grid))
