"""The token mixing of MLP-Mixer: a perceptron along the tokens, shared by all channels.

Shapes: B batch, `*grid` one to three token axes of fixed size, L tokens in all, D width.
"""

from __future__ import annotations

from math import prod
from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Cost, Mixer, Traits

__all__ = ["MLPMixer"]


class MLPMixer(Mixer):
    r"""Map the tokens of every channel through one perceptron.

    .. math::
        y_{\cdot d} = W_2 \operatorname{GELU}(W_1 x_{\cdot d} + b_1) + b_2

    over the L tokens of the flattened grid. The hidden width is 2 L by default, as in the paper's base model (384 for
    196 tokens), hence the cost 8 L^2 D is quadratic and the parameters grow like 4 L^2.

    Args:
        dim: width D.
        grid: sizes of the token axes, which the weights fix.
        hidden: hidden width, 2 L if None.

    Source: Tolstikhin et al., MLP-Mixer, arXiv 2105.01601; initialised as the authors' code does, normal with variance
    1 / fan-in and zero biases.
    """

    name = "mlp-mixer"
    traits = Traits(ranks=(1, 2, 3), padding="refused", fixed_grid=True, cost="quadratic")

    def __init__(self, dim: int, *, grid: tuple[int, ...], hidden: int | None = None, causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        self.grid = tuple(grid)
        tokens = prod(grid)
        self.hidden = 2 * tokens if hidden is None else hidden
        self.up = nn.Linear(tokens, self.hidden)
        self.down = nn.Linear(self.hidden, tokens)
        for linear in (self.up, self.down):
            nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
            nn.init.zeros_(linear.bias)

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        return cls(dim, grid=grid, causal=causal)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        y = x.flatten(1, -2).transpose(1, 2)  # (B, D, L)
        y = self.down(F.gelu(self.up(y)))
        return y.transpose(1, 2).reshape(x.shape)  # (B, *grid, D)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count both matrix products; not GELU."""
        tokens = self.up.in_features
        weights = 2 * tokens * self.hidden
        return Cost(parameters=weights + self.hidden + tokens, flops=2 * weights * self.dim)
