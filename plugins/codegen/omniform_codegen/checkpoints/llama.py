"""Llama, and Mistral, which is Llama with a window: RMS norms, gated perceptrons, grouped queries.

Source: Touvron et al., arXiv 2302.13971 and 2307.09288; Rozière et al., Code Llama, arXiv 2308.12950; Guo et al.,
DeepSeek-Coder, arXiv 2401.14196; Jiang et al., Mistral, arXiv 2310.06825.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from omniform.channel import SwiGLU
from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.decoder import Decoder
from omniform_codegen.checkpoints.origin import Origin, plain, stacked
from omniform_codegen.checkpoints.settings import Settings

__all__ = ["gated_decoder", "llama", "mistral"]


def llama(settings: Settings) -> Blueprint:
    """Build a network of the type `llama`: Llama 1 to 3, Code Llama, DeepSeek-Coder, and what follows them."""
    attention_bias, mlp_bias = settings.flag("attention_bias", False), settings.flag("mlp_bias", False)
    return gated_decoder(settings, qkv_bias=attention_bias, out_bias=attention_bias, mlp_bias=mlp_bias).build()


def mistral(settings: Settings) -> Blueprint:
    """Build a network of the type `mistral`."""
    window = settings.window(4096)
    return gated_decoder(settings).build(lambda layer: window)


def gated_decoder(
    settings: Settings, *, qkv_bias: bool = False, out_bias: bool = False, mlp_bias: bool = False
) -> Decoder:
    """Describe a decoder of RMS norms and SwiGLU."""
    settings.choice("hidden_act", "silu", ("silu", "swish"))
    return Decoder(
        settings=settings,
        norm=partial(nn.RMSNorm, eps=settings.number("rms_norm_eps", 1e-6)),
        channel=partial(SwiGLU, bias=mlp_bias),
        channel_origins=_gated,
        qkv_bias=qkv_bias,
        out_bias=out_bias,
        tied=False,
    )


def _gated(theirs: str) -> dict[str, Origin]:
    return {"gate_up": stacked(f"{theirs}.gate_proj", f"{theirs}.up_proj"), "down": plain(f"{theirs}.down_proj")}
