"""GPT-NeoX and Pythia: attention and perceptron side by side, rotations of part of each head.

Source: Black et al., GPT-NeoX-20B, arXiv 2204.06745; Biderman et al., Pythia, arXiv 2304.01373.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from omniform.backbones import Sequence
from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.mixers.attention import Attention
from omniform_codegen.checkpoints.activation import gelu
from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.origin import Origin, fused, of_modules, plain
from omniform_codegen.checkpoints.rotation import rotary, rotated_channels
from omniform_codegen.checkpoints.settings import Settings
from omniform_codegen.model import CausalModel

__all__ = ["gpt_neox"]


def gpt_neox(settings: Settings) -> Blueprint:
    """Build a network of the type `gpt_neox`."""
    dim, hidden = settings.width("hidden_size"), settings.width("intermediate_size")
    heads, depth = settings.width("num_attention_heads"), settings.depth()
    if dim % heads:
        raise settings.unfit("num_attention_heads", f"a divisor of hidden_size, {dim}", heads)
    head_dim = dim // heads
    channels = rotated_channels(settings, head_dim, share=0.25)
    bias, parallel = settings.flag("attention_bias", True), settings.flag("use_parallel_residual", True)
    norm = partial(nn.LayerNorm, eps=settings.number("layer_norm_eps", 1e-5))
    approximate = gelu(settings, "gelu")

    def make_layer(index: int, dim: int) -> Layer:
        rotation = rotary(settings, channels)
        attention = Attention(dim, num_heads=heads, causal=True, rotary=rotation, qkv_bias=bias, out_bias=bias)
        perceptron = Mlp(dim, hidden, approximate=approximate)
        return Layer(Branch(attention, norm(dim)), Branch(perceptron, norm(dim)), parallel=parallel)

    tied = settings.flag("tie_word_embeddings", False)
    backbone = Sequence(make_layer, dim=dim, depth=depth, norm=norm(dim))
    model = CausalModel(backbone, dim=dim, vocabulary=settings.width("vocab_size"), tied=tied)
    origins = {"stem": plain("gpt_neox.embed_in"), "backbone.norm": plain("gpt_neox.final_layer_norm")}
    if not tied:
        origins["head"] = plain("embed_out")
    for index in range(depth):
        origins.update(_layer_origins(index, head_dim, channels))
    return Blueprint(
        model=model,
        origins=of_modules(model, origins),
        context=settings.count("max_position_embeddings", 2048),
        copies={"embed_out.weight": "gpt_neox.embed_in.weight"} if tied else {},
        derived=(r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",),
    )


def _layer_origins(index: int, head_dim: int, channels: int) -> dict[str, Origin]:
    ours, theirs = f"backbone.layers.{index}.branches", f"gpt_neox.layers.{index}"
    qkv = f"{theirs}.attention.query_key_value"
    return {
        f"{ours}.0.norm": plain(f"{theirs}.input_layernorm"),
        f"{ours}.0.op.query": fused(qkv, 0, head_dim, channels),
        f"{ours}.0.op.key": fused(qkv, 1, head_dim, channels),
        f"{ours}.0.op.value": fused(qkv, 2, head_dim, channels),
        f"{ours}.0.op.out": plain(f"{theirs}.attention.dense"),
        f"{ours}.1.norm": plain(f"{theirs}.post_attention_layernorm"),
        f"{ours}.1.op.up": plain(f"{theirs}.mlp.dense_h_to_4h"),
        f"{ours}.1.op.down": plain(f"{theirs}.mlp.dense_4h_to_h"),
    }
