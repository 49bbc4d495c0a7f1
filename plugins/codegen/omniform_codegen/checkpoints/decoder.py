"""What Llama, Mistral, Qwen2 and StarCoder2 have in common: attention, embeddings and the names of their tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from omniform.backbones import Sequence
from omniform.channel import ChannelMixer
from omniform.layers import Branch, Layer
from omniform.mixers.attention import Attention
from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.origin import Origin, of_modules, paired, plain
from omniform_codegen.checkpoints.rotation import rotary, rotated_channels
from omniform_codegen.checkpoints.settings import Settings
from omniform_codegen.model import CausalModel

__all__ = ["Decoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A stack of pre-norm layers of attention and a perceptron.

    Attributes:
        settings: the config.
        norm: makes the norm of a width.
        channel: makes the perceptron of a width and a hidden width.
        channel_origins: of the perceptron's modules, given the name of theirs.
        qkv_bias, out_bias: whether the projections of attention have biases.
        tied: whether the head is the embedding, unless the config says.
    """

    settings: Settings
    norm: Callable[[int], nn.Module]
    channel: Callable[[int, int], ChannelMixer]
    channel_origins: Callable[[str], dict[str, Origin]]
    qkv_bias: bool
    out_bias: bool
    tied: bool

    def build(self, window: Callable[[int], int | None] = lambda layer: None) -> Blueprint:
        """Build the network; layer i sees `window(i)` tokens."""
        settings = self.settings
        dim, hidden = settings.width("hidden_size"), settings.width("intermediate_size")
        heads = settings.width("num_attention_heads")
        kv_heads = settings.width("num_key_value_heads", heads)
        if heads % kv_heads:
            raise settings.unfit("num_key_value_heads", f"a divisor of num_attention_heads, {heads}", kv_heads)
        head_dim = settings.width("head_dim", dim // heads or 1)
        channels = rotated_channels(settings, head_dim)

        def make_layer(index: int, dim: int) -> Layer:
            attention = Attention(
                dim,
                num_heads=heads,
                num_kv_heads=kv_heads,
                head_dim=head_dim,
                causal=True,
                window=window(index),
                rotary=rotary(settings, channels),
                qkv_bias=self.qkv_bias,
                out_bias=self.out_bias,
            )
            return Layer(Branch(attention, self.norm(dim)), Branch(self.channel(dim, hidden), self.norm(dim)))

        depth = settings.depth()
        backbone = Sequence(make_layer, dim=dim, depth=depth, norm=self.norm(dim))
        tied = settings.flag("tie_word_embeddings", self.tied)
        model = CausalModel(backbone, dim=dim, vocabulary=settings.width("vocab_size"), tied=tied)
        origins = {"stem": plain("model.embed_tokens"), "backbone.norm": plain("model.norm")}
        if not tied:
            origins["head"] = plain("lm_head")
        for index in range(depth):
            origins.update(self._layer_origins(index, head_dim, channels))
        return Blueprint(
            model=model,
            origins=of_modules(model, origins),
            context=settings.count("max_position_embeddings", 2048),
            copies={"lm_head.weight": "model.embed_tokens.weight"} if tied else {},
            derived=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq"),
        )

    def _layer_origins(self, index: int, head_dim: int, channels: int) -> dict[str, Origin]:
        ours, theirs = f"backbone.layers.{index}.branches", f"model.layers.{index}"
        attention = {
            "query": paired(f"{theirs}.self_attn.q_proj", head_dim, channels),
            "key": paired(f"{theirs}.self_attn.k_proj", head_dim, channels),
            "value": plain(f"{theirs}.self_attn.v_proj"),
            "out": plain(f"{theirs}.self_attn.o_proj"),
        }
        perceptron = self.channel_origins(f"{theirs}.mlp")
        return {
            f"{ours}.0.norm": plain(f"{theirs}.input_layernorm"),
            **{f"{ours}.0.op.{name}": origin for name, origin in attention.items()},
            f"{ours}.1.norm": plain(f"{theirs}.post_attention_layernorm"),
            **{f"{ours}.1.op.{name}": origin for name, origin in perceptron.items()},
        }
