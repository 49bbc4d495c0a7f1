"""The two-layer perceptron of the original Transformer, with GELU."""

from __future__ import annotations

from math import prod
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from omniform.channel.base import ChannelMixer
from omniform.layout import Layout
from omniform.mixers.base import Cost

__all__ = ["Mlp"]


class Mlp(ChannelMixer):
    """Map each token through `W2 gelu(W1 x + b1) + b2` (arXiv 1706.03762, GELU from 1606.08415).

    Args:
        dim: width D.
        hidden: hidden width.
        bias: whether there are b1 and b2.
        approximate: `"tanh"` takes the approximation of GELU that GPT-2 was trained with.
    """

    def __init__(
        self, dim: int, hidden: int, *, bias: bool = True, approximate: Literal["none", "tanh"] = "none"
    ) -> None:
        super().__init__(dim, hidden)
        self.approximate: Literal["none", "tanh"] = approximate
        self.up = nn.Linear(dim, hidden, bias=bias)
        self.down = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate=self.approximate))  # (B, *grid, D)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        weights = 2 * self.dim * self.hidden
        biases = 0 if self.up.bias is None else self.hidden + self.dim
        return Cost(parameters=weights + biases, flops=2 * weights * prod(grid))
