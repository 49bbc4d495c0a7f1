"""The spatial half of ConvMixer: a depthwise convolution with a large kernel.

Shapes: B batch, `*grid` one to three token axes, D width, T all tokens of a batch.
"""

from __future__ import annotations

from math import prod
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import IncompatibleError
from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Cost, Mixer, Traits

__all__ = ["ConvMixer", "TokenBatchNorm"]

_KERNEL = 9


class TokenBatchNorm(nn.BatchNorm1d):
    """Normalise each channel by its statistics over the valid tokens of the batch (arXiv 1502.03167)."""

    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise `input` (B, *grid, D) with `mask` (B, *grid), true where a token counts."""
        if mask is None or not self.training:
            return super().forward(input.flatten(0, -2)).view_as(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        weight = mask[..., None].to(x)  # (B, *grid, 1)
        axes = tuple(range(x.ndim - 1))
        count = weight.sum().clamp(min=1)
        mean = (x * weight).sum(axes) / count  # (D,)
        var = ((x - mean).square() * weight).sum(axes) / count
        self._follow(mean.detach(), (var * count / (count - 1).clamp(min=1)).detach())
        return ((x - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics as `nn.BatchNorm1d` does."""
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            if running is not None and self.momentum is not None:
                running.lerp_(new.to(running), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class ConvMixer(Mixer):
    r"""Mix each channel over its neighbourhood.

    .. math::
        y = \operatorname{BN}(\operatorname{GELU}(\operatorname{depthwise}(x)))

    Zeros lie beyond the ends of an ordered axis; a circular axis goes on at its other end, so that the result is
    exactly shift-equivariant along it. Padded places count as zeros and not in the batch statistics; a circle has no
    place for padding and refuses it. The other half of the paper's block, a pointwise convolution, is the layer's
    channel mixer.

    Args:
        dim: width D.
        kernel: odd number of taps along each axis.

    Source: Trockman and Kolter, Patches Are All You Need?, arXiv 2201.09792.
    """

    name = "convmixer"
    traits = Traits(ranks=(1, 2, 3), axes=("ordered", "circular"), cost="linear")

    def __init__(self, dim: int, *, kernel: tuple[int, ...] = (_KERNEL,), causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        if len(kernel) not in self.traits.ranks or any(taps < 1 or taps % 2 == 0 for taps in kernel):
            raise IncompatibleError(f"expected an odd number of taps for each of one to three axes, got {kernel}")
        self.kernel = tuple(kernel)
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        self.depthwise = conv(dim, dim, self.kernel, groups=dim)  # pyright: ignore[reportArgumentType]  # of its rank
        self.norm = TokenBatchNorm(dim)

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        """Build it with nine taps along each axis, fewer where some would meet nothing, or a token twice."""
        most = (n - 1 + n % 2 if kind == "circular" else 2 * n - 1 for n, kind in zip(grid, axes, strict=True))
        return cls(dim, kernel=tuple(min(_KERNEL, taps) for taps in most), causal=causal)

    def check(self, x: Tensor, layout: Layout) -> None:
        super().check(x, layout)
        if layout.rank != len(self.kernel):
            raise IncompatibleError(
                f"convmixer was built for rank {len(self.kernel)}, got the grid {layout.grid}; give it one kernel size "
                "for each axis"
            )
        if "circular" in layout.axes and (layout.mask is not None or layout.offsets is not None):
            raise self._refuse("padding on a circular axis", "full circles; crop the input")

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        if layout.mask is not None:
            x = x.masked_fill(~layout.mask[..., None], 0)
        y = self.depthwise(self._surround(x, layout.axes).movedim(-1, 1)).movedim(1, -1)  # (B, *grid, D)
        return self.norm(F.gelu(y), layout.mask)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count the convolution exactly; neither GELU nor the norm."""
        weights = self.dim * prod(self.kernel)
        return Cost(parameters=weights + 3 * self.dim, flops=2 * weights * prod(grid))

    def _surround(self, x: Tensor, axes: tuple[AxisKind, ...]) -> Tensor:
        """Add half a kernel on both sides of each axis: zeros, or what a circular axis goes on with."""
        zeros = [0, 0]  # of F.pad, last axis first; the channels get none
        for axis, (kind, taps) in enumerate(zip(axes, self.kernel, strict=True), start=1):
            half, n = taps // 2, x.shape[axis]
            if kind == "circular":
                x = x.index_select(axis, torch.arange(-half, n + half, device=x.device) % n)
            zeros[2:2] = [0, 0] if kind == "circular" else [half, half]
        return F.pad(x, zeros)
