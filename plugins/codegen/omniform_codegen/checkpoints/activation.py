"""Which GELU a config means."""

from __future__ import annotations

from typing import Literal

from omniform_codegen.checkpoints.settings import Settings

__all__ = ["gelu"]

_TANH = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")


def gelu(settings: Settings, default: str) -> Literal["none", "tanh"]:
    """Return torch's word for the approximation that `hidden_act` names."""
    return "tanh" if settings.choice("hidden_act", default, ("gelu", *_TANH)) in _TANH else "none"
