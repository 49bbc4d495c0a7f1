"""A channel-independent encoder of patches with any mixer along time.

Shapes: B batch, L lookback, C variates, S = B C series, N patches, D width, H horizon.
"""

from __future__ import annotations

from torch import Tensor, nn

from omniform.backbones import Sequence
from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.positions import Learned
from omniform.task import Size
from omniform_timeseries.models.normalization import normalize
from omniform_timeseries.models.patching import ForecastHead, Patches, PatchStem

__all__ = ["HEAD_RANK", "PatchEncoder"]

HEAD_RANK = 8


class PatchEncoder(nn.Module):
    """Forecast each variate from its own patches (PatchTST, arXiv 2211.14730, with the attention made a mixer slot).

    `(B, L, C) -> (B, H, C)`: windows are normalised by their last value and standard deviation, cut into patches,
    embedded with learned positions, run through `depth` pre-norm layers of mixer and perceptron, and read out by a
    low-rank flattening head. All variates share the weights and never see each other.

    Args:
        linear: add a linear map of the whole normalised lookback to the forecast, zero at first (the global residual of
            TiDE, arXiv 2304.08424): what a linear model can do need not be learnt by the layers.
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
        linear: bool = True,
    ) -> None:
        super().__init__()
        tokens = patches.count

        def make_layer(index: int, dim: int) -> Layer:
            return Layer(
                Branch(adapt(mixer, dim, grid=(tokens,)), nn.LayerNorm(dim), dropout=dropout),
                Branch(Mlp(dim, size.hidden), nn.LayerNorm(dim), dropout=dropout),
            )

        position = Learned(size.dim, (tokens,))
        self.stem = nn.ModuleDict({"embed": PatchStem(patches, size.dim), "position": position})
        self.backbone = Sequence(make_layer, dim=size.dim, depth=size.depth)
        self.head = ForecastHead(size.dim, tokens, horizon, rank=head_rank, dropout=dropout)
        self.linear = nn.Linear(patches.lookback, horizon, bias=False) if linear else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)

    def forward(self, history: Tensor) -> Tensor:
        scaled, scale = normalize(history, center="last")
        series = scaled.transpose(1, 2).flatten(0, 1)  # (S, L)
        tokens = self.stem["embed"](series)  # (S, N, D)
        layout = Layout.of(tokens)
        tokens = self.stem["position"](tokens, layout)
        forecast = self.head(self.backbone(tokens, layout).last)  # (S, H)
        if self.linear is not None:
            forecast = forecast + self.linear(series)
        return scale.restore(forecast.unflatten(0, (history.shape[0], -1)).transpose(1, 2))
