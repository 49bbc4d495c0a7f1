"""Choose a network by its name."""

from __future__ import annotations

from typing import Any

from torch import nn

from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_medical.config import ModelName
from omniform_medical.models.dense_transformer import DenseTransformerNetwork
from omniform_medical.models.diamant import Diamant
from omniform_medical.models.lightm_unet import LightMUNet
from omniform_medical.models.mambaclinix import MambaClinix
from omniform_medical.models.med3d import Med3D
from omniform_medical.models.unet import MixerUNet
from omniform_medical.plan import Plan

__all__ = ["build_model"]

_MODELS: dict[ModelName, Any] = {
    "unet": MixerUNet,
    "lightm-unet": LightMUNet,
    "mambaclinix": MambaClinix,
    "diamant": Diamant,
    "dtn": DenseTransformerNetwork,
    "med3d": Med3D,
}


def build_model(
    name: ModelName,
    mixer: type[Mixer],
    size: Size,
    *,
    plan: Plan,
    channels: int,
    classes: int,
    encoder: Size | None = None,
) -> nn.Module:
    """Build the network of this name and size, over this mixer; `encoder` is the size of one trained before."""
    if encoder is not None:
        return Med3D(mixer, size, plan=plan, channels=channels, classes=classes, encoder=encoder)
    return _MODELS[name](mixer, size, plan=plan, channels=channels, classes=classes)
