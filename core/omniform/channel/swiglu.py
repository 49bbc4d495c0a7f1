"""The gated perceptron with swish."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from omniform.channel.base import ChannelMixer
from omniform.layout import Layout
from omniform.mixers.base import Cost
from omniform_kernels.swiglu import swiglu

__all__ = ["SwiGLU"]


class SwiGLU(ChannelMixer):
    """Map each token through `W3 (silu(W1 x) * W2 x)`, by default without biases (arXiv 2002.05202)."""

    def __init__(self, dim: int, hidden: int, *, bias: bool = False) -> None:
        super().__init__(dim, hidden)
        self.gate_up = nn.Linear(dim, 2 * hidden, bias=bias)
        self.down = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # 2 x (B, *grid, hidden)
        return self.down(swiglu(gate, up))

    def cost(self, grid: tuple[int, ...]) -> Cost:
        weights = 3 * self.dim * self.hidden
        biases = 0 if self.down.bias is None else 2 * self.hidden + self.dim
        return Cost(parameters=weights + biases, flops=2 * weights * prod(grid))
