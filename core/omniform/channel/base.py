"""The contract of a channel mixer: `(B, *grid, D) -> (B, *grid, D)`, one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from omniform.layout import Layout
from omniform.mixers.base import Cost

__all__ = ["Aux", "ChannelMixer", "ChannelMixerFactory"]

Aux = Mapping[str, Tensor]
"""Auxiliary losses by name, to be added to an objective."""


class ChannelMixer(nn.Module):
    """Mix the channels of every token.

    The layout says which tokens are valid, for mixers that keep statistics over tokens.

    Args:
        dim: width D of the tokens.
        hidden: hidden width.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.dim = dim
        self.hidden = hidden

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        raise NotImplementedError

    def forward_with_aux(self, x: Tensor, layout: Layout) -> tuple[Tensor, Aux]:
        """Return the mixed tokens and auxiliary losses; none, unless a subclass has some."""
        return self(x, layout), {}

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Return the cost of one sample of this grid, by formula."""
        raise NotImplementedError


ChannelMixerFactory = Callable[[int], ChannelMixer]
