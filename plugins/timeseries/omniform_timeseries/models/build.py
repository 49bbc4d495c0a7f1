"""Choose a network by its configuration."""

from __future__ import annotations

from torch import nn

from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.models.itransformer import ITransformer
from omniform_timeseries.models.patch_encoder import PatchEncoder
from omniform_timeseries.models.patching import Patches
from omniform_timeseries.models.patchtsmixer import PatchTSMixer

__all__ = ["FIXED_PARTS", "build_model"]

FIXED_PARTS = ("stem", "head", "linear")


def build_model(config: ForecastConfig, *, num_variates: int, mixer: type[Mixer], size: Size) -> nn.Module:
    """Build the network that `config.model` names, of this size, over this mixer.

    `FIXED_PARTS` names the submodules outside of the mixed layers, as far as a network has them.
    """
    if config.model == "itransformer":
        return ITransformer(
            mixer,
            size,
            num_variates=num_variates,
            lookback=config.lookback,
            horizon=config.horizon,
            dropout=config.dropout,
        )
    horizon, dropout = config.horizon, config.dropout
    patches = Patches(lookback=config.lookback, length=config.patch, stride=config.stride)
    if config.model == "patchtsmixer":
        return PatchTSMixer(mixer, size, patches=patches, horizon=horizon, dropout=dropout)
    return PatchEncoder(mixer, size, patches=patches, horizon=horizon, dropout=dropout, linear=config.linear)
