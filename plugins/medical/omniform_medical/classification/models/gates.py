"""Attention that refines a map: which channels, then which places.

Shapes: B batch, D width, H x W places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer

__all__ = ["ChannelGate", "PlaceGate"]


class ChannelGate(nn.Module):
    """Scale channels by `sigmoid(f(mean(x)) + f(max(x)))`, `f` a perceptron that both share (arXiv 1807.06521)."""

    def __init__(self, dim: int, reduction: int = 8) -> None:
        super().__init__()
        self.reduce = nn.Linear(dim, max(1, dim // reduction))
        self.expand = nn.Linear(max(1, dim // reduction), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Gate maps `(B, D, H, W)`."""
        pooled = torch.stack([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))])  # (2, B, D)
        return x * self.expand(F.relu(self.reduce(pooled))).sum(0).sigmoid()[:, :, None, None]


class PlaceGate(nn.Module):
    r"""Scale places by what their surroundings say, and what a mixer says of all places.

    .. math::
        y = x \cdot \sigma\left(f^{7 \times 7}(\operatorname{mean}_D x, \max_D x)
            + w \cdot \operatorname{mixer}(\operatorname{norm} x)\right)

    The convolution is the published spatial gate (arXiv 1807.06521), which sees 7 x 7 places; the mixer is the slot
    that a comparison fills. w starts at zero, so that training starts from the published form.
    """

    def __init__(self, mixer: type[Mixer], dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.surroundings = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.mixer = adapt(mixer, dim, grid=grid)
        self.score = nn.Linear(dim, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Gate maps `(B, D, H, W)`."""
        pooled = torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)  # (B, 2, H, W)
        tokens = self.norm(x.permute(0, 2, 3, 1))  # (B, H, W, D)
        said = self.score(self.mixer(tokens, Layout.of(tokens))).permute(0, 3, 1, 2)  # (B, 1, H, W)
        return x * (self.surroundings(pooled) + said).sigmoid()
