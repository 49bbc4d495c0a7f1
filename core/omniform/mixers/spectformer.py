"""The spectral gating of SpectFormer: one learnable complex weight for each frequency and channel.

Shapes: B batch, `*grid` one to three token axes of fixed size, D width, `*frequencies` those of a real transform.
"""

from __future__ import annotations

from math import log2, prod
from typing import Self

import torch
from torch import Tensor, nn

from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Cost, Mixer, Traits

__all__ = ["SpectralGating"]


class SpectralGating(Mixer):
    r"""Weigh the frequencies of the grid.

    .. math::
        y = F^{-1}(K \odot F(x))

    with F the real Fourier transform over all token axes and K a trainable complex weight per frequency and channel.
    This is a depthwise circular convolution as long as the grid, with the filter F^{-1}(K); every axis is therefore
    treated as a circle.

    SpectFormer itself is a pattern of layers: its first ones mix like this, the others by attention. A backbone's layer
    factory, which is given the layer's index, writes that pattern down.

    Args:
        dim: width D.
        grid: sizes of the token axes, which the weights fix.

    Source: Patro et al., SpectFormer, arXiv 2304.06446; initialised as the authors' code does, normal with deviation
    0.02.
    """

    name = "spectformer"
    traits = Traits(ranks=(1, 2, 3), axes=("ordered", "circular"), padding="refused", fixed_grid=True, cost="loglinear")

    def __init__(self, dim: int, *, grid: tuple[int, ...], causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        self.grid = tuple(grid)
        # Real and imaginary part lie in a last axis: optimisers and file formats know real numbers better.
        self.weight = nn.Parameter(0.02 * torch.randn(*_frequencies(grid), dim, 2))

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        return cls(dim, grid=grid, causal=causal)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        axes = list(range(1, x.ndim - 1))
        spectrum = torch.fft.rfftn(x.to(dtype), dim=axes)  # (B, *frequencies, D)
        weight = torch.view_as_complex(self.weight.to(dtype))
        return torch.fft.irfftn(spectrum * weight, list(layout.grid), dim=axes).to(x.dtype)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count both transforms as 5 n log2 n each, and 6 operations a complex product."""
        tokens, products = prod(grid), prod(_frequencies(grid)) * self.dim
        flops = 2 * self.dim * 5 * tokens * log2(max(tokens, 2)) + 6 * products
        return Cost(parameters=2 * products, flops=round(flops))


def _frequencies(grid: tuple[int, ...]) -> tuple[int, ...]:
    return (*grid[:-1], grid[-1] // 2 + 1)
