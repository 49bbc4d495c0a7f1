"""StarCoder2: layer norms, biases everywhere, a plain perceptron, grouped queries and a window.

Source: Lozhkov et al., StarCoder 2 and The Stack v2, arXiv 2402.19173.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from omniform.channel import Mlp
from omniform_codegen.checkpoints.activation import gelu
from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.decoder import Decoder
from omniform_codegen.checkpoints.origin import Origin, plain
from omniform_codegen.checkpoints.settings import Settings

__all__ = ["starcoder2"]


def starcoder2(settings: Settings) -> Blueprint:
    """Build a network of the type `starcoder2`."""
    bias = settings.flag("use_bias", True)
    window = settings.window(None)
    decoder = Decoder(
        settings=settings,
        norm=partial(nn.LayerNorm, eps=settings.number("norm_epsilon", 1e-5)),
        channel=partial(Mlp, bias=bias, approximate=gelu(settings, "gelu_pytorch_tanh")),
        channel_origins=_perceptron,
        qkv_bias=bias,
        out_bias=bias,
        tied=True,
    )
    return decoder.build(lambda layer: window)


def _perceptron(theirs: str) -> dict[str, Origin]:
    return {"up": plain(f"{theirs}.c_fc"), "down": plain(f"{theirs}.c_proj")}
