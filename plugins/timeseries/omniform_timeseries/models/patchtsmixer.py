"""PatchTSMixer: gated perceptrons over patches and features, with the patch perceptron made a mixer slot.

Shapes: B batch, L lookback, C variates, S = B C series, N patches, D width, H horizon.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from omniform.backbones import Sequence
from omniform.channel import ChannelMixer, Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Cost, Mixer
from omniform.task import Size
from omniform_timeseries.models.normalization import normalize
from omniform_timeseries.models.patch_encoder import HEAD_RANK
from omniform_timeseries.models.patching import ForecastHead, Patches, PatchStem

__all__ = ["GatedFeatures", "GatedPatches", "PatchTSMixer"]


class GatedPatches(Mixer):
    """Mix patches, then weigh them: `y * softmax_N(W y + b)`, with `y = mixer(x)` and `W` acting along the patches."""

    name: ClassVar[str] = "gated-patches"

    def __init__(self, mixer: Mixer, num_patches: int) -> None:
        self.traits = mixer.traits
        super().__init__(mixer.dim)
        self.mixer = mixer
        self.grid = mixer.grid
        self.gate = nn.Linear(num_patches, num_patches)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        y = self.mixer(x, layout).transpose(1, 2)  # (S, D, N)
        return (y * self.gate(y).softmax(dim=-1)).transpose(1, 2)

    def describe(self) -> str:
        return f"{self.mixer.describe()}, gated"

    def cost(self, grid: tuple[int, ...]) -> Cost:
        weights = self.gate.in_features**2
        gate = Cost(parameters=weights + self.gate.in_features, flops=2 * weights * self.dim)
        return self.mixer.cost(grid) + gate


class GatedFeatures(ChannelMixer):
    """Mix features, then weigh them: `y * softmax_D(W y + b)`, with `y = mlp(x)`."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(dim, hidden)
        self.mlp = Mlp(dim, hidden)
        self.gate = nn.Linear(dim, dim)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        y = self.mlp(x, layout)
        return y * self.gate(y).softmax(dim=-1)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        weights = self.dim**2
        return self.mlp.cost(grid) + Cost(parameters=weights + self.dim, flops=2 * weights * grid[0])


class PatchTSMixer(nn.Module):
    """Forecast each variate from gated mixtures of its patches and features (arXiv 2306.09364).

    `(B, L, C) -> (B, H, C)`. This is the paper's channel-independent backbone (`common_channel`) with its mean and
    deviation normalisation and gated blocks; `--mixer mlp-mixer` is the paper's own choice in the slot. The head is
    low-rank unless `head_rank` is `None`, which is the paper's.
    """

    def __init__(
        self,
        mixer: type[Mixer],
        size: Size,
        *,
        patches: Patches,
        horizon: int,
        dropout: float = 0.0,
        head_rank: int | None = HEAD_RANK,
    ) -> None:
        super().__init__()
        self.stem = PatchStem(patches, size.dim)
        tokens = patches.count

        def make_layer(index: int, dim: int) -> Layer:
            mix = GatedPatches(adapt(mixer, dim, grid=(tokens,)), tokens)
            return Layer(
                Branch(mix, nn.LayerNorm(dim), dropout=dropout),
                Branch(GatedFeatures(dim, size.hidden), nn.LayerNorm(dim), dropout=dropout),
            )

        self.backbone = Sequence(make_layer, dim=size.dim, depth=size.depth, norm=nn.Identity())
        self.head = ForecastHead(size.dim, tokens, horizon, rank=head_rank, dropout=dropout)

    def forward(self, history: Tensor) -> Tensor:
        scaled, scale = normalize(history, center="mean")
        tokens = self.stem(scaled.transpose(1, 2).flatten(0, 1))  # (S, N, D)
        forecast = self.head(self.backbone(tokens, Layout.of(tokens)).last)  # (S, H)
        return scale.restore(forecast.unflatten(0, (history.shape[0], -1)).transpose(1, 2))
