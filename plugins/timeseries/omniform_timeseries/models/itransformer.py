"""iTransformer: a token is the whole history of one variate.

Shapes: B batch, L lookback, C variates, D width, H horizon.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from omniform.backbones import Sequence
from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_timeseries.models.normalization import normalize

__all__ = ["ITransformer"]


class ITransformer(nn.Module):
    """Mix variates, and let a perceptron work along time inside each (arXiv 2310.06625).

    `(B, L, C) -> (B, H, C)`: normalised windows are embedded by one linear map `L -> D` per variate; `depth` post-norm
    layers mix the C variate tokens, which are a set; a linear map `D -> H` reads the forecast out. With softmax
    attention in the slot, variates may be permuted at will. A series `a x + b` (a > 0) has the forecast `a y + b`.

    Args:
        center: what normalisation subtracts; the paper's mean, or the last value.
    """

    def __init__(
        self,
        mixer: type[Mixer],
        size: Size,
        *,
        num_variates: int,
        lookback: int,
        horizon: int,
        dropout: float = 0.0,
        center: Literal["last", "mean"] = "mean",
    ) -> None:
        super().__init__()

        def make_layer(index: int, dim: int) -> Layer:
            mix = adapt(mixer, dim, grid=(num_variates,), axes=("set",))
            return Layer(
                Branch(mix, nn.LayerNorm(dim), dropout=dropout, post_norm=True),
                Branch(Mlp(dim, size.hidden), nn.LayerNorm(dim), dropout=dropout, post_norm=True),
            )

        self.center: Literal["last", "mean"] = center
        self.stem = nn.Sequential(nn.Linear(lookback, size.dim), nn.Dropout(dropout))
        self.backbone = Sequence(make_layer, dim=size.dim, depth=size.depth)
        self.head = nn.Linear(size.dim, horizon)

    def forward(self, history: Tensor) -> Tensor:
        scaled, scale = normalize(history, center=self.center)
        tokens = self.stem(scaled.transpose(1, 2))  # (B, C, D)
        layout = Layout((tokens.shape[1],), ("set",))
        forecast = self.head(self.backbone(tokens, layout).last)  # (B, C, H)
        return scale.restore(forecast.transpose(1, 2))
