"""Hyena on grids: gates between convolutions whose filters, as long as the grid, come out of a small network.

Shapes: B batch, `*grid` one to three token axes, D width, `*taps` offsets along every axis, 2n - 1 of both signs for n
tokens (n of one sign if causal).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log, log2, pi, prod
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import IncompatibleError
from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Cost, Mixer, Traits
from omniform_kernels.long_convolution import long_convolution

__all__ = ["HyenaND", "ImplicitFilter"]

_ORDER = 2
_SHORT_TAPS = 3


class ImplicitFilter(nn.Module):
    r"""Compute filters as a function of the offset between two tokens.

    .. math::
        h(s) = \operatorname{MLP}(\operatorname{features}(s)) \odot e^{-\alpha \lVert s \rVert_1 / \text{scale}}

    The MLP has three hidden layers with sines of trainable frequencies; its features are, for each axis, s / scale and
    the cosine and sine of 2 pi f s / scale for f = 1..num_bands. The window lets each channel decay at its own rate, to
    1 % between 0.3 and 1.5 times `scale`. Offsets are counted in tokens, never relative to the grid: the same two
    tokens are weighed alike on a larger grid.

    Args:
        num_filters: channels of the result.
        rank: number of axes.
        scale: offset, in tokens, that counts as one.
        hidden: width of the MLP.
    """

    def __init__(
        self, num_filters: int, rank: int, *, scale: float = 64.0, hidden: int = 32, num_bands: int = 2
    ) -> None:
        super().__init__()
        self.scale = scale
        self.num_bands = num_bands
        widths = (rank * (1 + 2 * num_bands), hidden, hidden, hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.frequencies = nn.Parameter(torch.ones(len(self.layers), hidden))
        self.out = nn.Linear(hidden, num_filters, bias=False)

    def forward(self, offsets: Sequence[Tensor]) -> Tensor:
        """Return the filters `(*taps, num_filters)` on the product of the offsets `(taps,)` along each axis.

        Offsets come in float32 at least, and filters go out so: a half-precision number cannot tell 256 from 257.
        """
        s = torch.stack(torch.meshgrid(*offsets, indexing="ij"), dim=-1) / self.scale  # (*taps, rank)
        wave = 2 * pi * s[..., None] * torch.arange(1, self.num_bands + 1, device=s.device)
        features = torch.cat([s, wave.cos().flatten(-2), wave.sin().flatten(-2)], dim=-1)
        h = features.to(self.out.weight.dtype)
        for layer, frequency in zip(self.layers, self.frequencies, strict=True):
            h = torch.sin(frequency * layer(h))
        return self.out(h) * torch.exp(-self._rates(s) * s.abs().sum(-1, keepdim=True))

    def cost(self, num_offsets: int) -> Cost:
        """Count the matrix products of the MLP."""
        weights = sum(m.in_features * m.out_features for m in (*self.layers, self.out) if isinstance(m, nn.Linear))
        return Cost(parameters=weights + 2 * self.frequencies.numel(), flops=2 * weights * num_offsets)

    def _rates(self, like: Tensor) -> Tensor:
        """Return the rates of decay alpha, (num_filters,)."""
        slow, fast = log(100) / 1.5, log(100) / 0.3
        return torch.linspace(slow, fast, self.out.out_features, device=like.device, dtype=like.dtype)


class HyenaND(Mixer):
    r"""Mix by two global convolutions with gates between them.

    .. math::
        (v, x_1, x_2) = \operatorname{short}(x W), \qquad
        y = W_O \big(x_2 \odot (h_2 * (x_1 \odot (h_1 * v)))\big)

    where `short` is a depthwise convolution of three taps per axis and each h_i * z adds a skip d_i z. This is the
    recurrence of the paper at order 2, with a long filter for each of its two steps. Filters reach over offsets of both
    signs, hence all directions, or only back if causal; outside the grid and at padded places there are zeros.

    Args:
        dim: width D.
        rank: number of token axes.
        variant: `"joint"` makes the filters from the offset along all axes at once, `"product"` as the product of a
            filter for each axis.

    Source: Zimerman and Wolf, Multi-Dimensional Hyena for Spatial Inductive Bias, arXiv 2309.13600; its causal form of
    rank 1 is Poli et al., Hyena Hierarchy, arXiv 2302.10866.
    """

    name = "hyena-nd"
    traits = Traits(ranks=(1, 2, 3), causal="optional", cost="loglinear")

    def __init__(
        self, dim: int, *, rank: int = 1, variant: Literal["joint", "product"] = "joint", causal: bool = False
    ) -> None:
        super().__init__(dim, causal=causal)
        if rank not in self.traits.ranks or (causal and rank > 1):
            raise self._refuse(f"{'a causal' if causal else 'a'} grid of rank {rank}", "ranks 1 to 3, causal in rank 1")
        self.rank = rank
        self.variant = variant
        width = (_ORDER + 1) * dim
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.input = nn.Linear(dim, width)
        self.short = conv(width, width, _SHORT_TAPS, groups=width)
        axes_of_filters = [rank] if variant == "joint" else [1] * rank
        self.filters = nn.ModuleList(ImplicitFilter(_ORDER * dim, axes) for axes in axes_of_filters)
        self.skip = nn.Parameter(torch.randn(_ORDER, dim))
        self.out = nn.Linear(dim, dim)

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        return cls(dim, rank=len(grid), causal=causal)

    def check(self, x: Tensor, layout: Layout) -> None:
        super().check(x, layout)
        if layout.rank != self.rank:
            raise IncompatibleError(f"hyena-nd was built for rank {self.rank}, got the grid {layout.grid}; rebuild it")

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        v, *gates = self._project(x, layout.mask).chunk(_ORDER + 1, dim=-1)  # 3 x (B, *grid, D)
        filters = self.filter(layout.grid).chunk(_ORDER, dim=-1)  # 2 x (*taps, D)
        for gate, filter_, skip in zip(gates, filters, self.skip, strict=True):
            v = gate * (long_convolution(v, filter_, causal=self.causal) + skip * v)
        return self.out(v)

    def filter(self, grid: tuple[int, ...]) -> Tensor:
        """Return the filters of both steps side by side, `(*taps, 2 D)`."""
        weight = self.out.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        offsets = [torch.arange(0 if self.causal else 1 - n, n, device=weight.device, dtype=dtype) for n in grid]
        if self.variant == "joint":
            return self.filters[0](offsets)
        first, *others = (make([along]) for make, along in zip(self.filters, offsets, strict=True))  # (taps, 2 D) each
        for other in others:
            first = first.unsqueeze(-2) * other
        return first

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count matrix products and the short convolution exactly, transforms as 5 n log2 n on grids twice as long."""
        tokens, width = prod(grid), (_ORDER + 1) * self.dim
        weights = self.dim * width + self.dim**2 + _SHORT_TAPS**self.rank * width
        vectors = 2 * width + (_ORDER + 1) * self.dim
        padded = prod(2 * n for n in grid)
        transforms = 3 * _ORDER * self.dim * 5 * padded * log2(padded)  # of filter and input, and back
        own = Cost(parameters=weights + vectors, flops=2 * weights * tokens + round(transforms))
        taps = [n if self.causal else 2 * n - 1 for n in grid]
        for make, count in zip(self.filters, [prod(taps)] if self.variant == "joint" else taps, strict=True):
            assert isinstance(make, ImplicitFilter)
            own = own + make.cost(count)
        return own

    def _project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return v and the gates, (B, *grid, 3 D), zero at padded places."""
        u = _cover(self.input(x), mask).movedim(-1, 1)
        around = (_SHORT_TAPS - 1, 0) if self.causal else (_SHORT_TAPS // 2,) * 2
        return _cover(self.short(F.pad(u, around * self.rank)).movedim(1, -1), mask)


def _cover(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask[..., None], 0)
