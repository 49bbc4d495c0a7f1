"""Small networks with the parts `stem`, `backbone` and `head`, and a peer of one of them with the same weights.

Shapes: B batch, L tokens, V vocabulary, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from omniform.adaptation.peft_files import Counterpart
from omniform.backbones import Sequence
from omniform.channel import SwiGLU
from omniform.layers import Branch, Layer, LayerState
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.attention import Attention
from omniform.mixers.base import Mixer
from omniform.positions import Rotary

VOCABULARY, DIM, HIDDEN, HEADS, KEY_HEADS, DEPTH = 31, 32, 48, 4, 2, 2


class Language(nn.Module):
    """Token vectors, causal layers, and a head of its own unless it is tied."""

    def __init__(self, backbone: Sequence, *, tied: bool) -> None:
        super().__init__()
        self.stem = nn.Embedding(VOCABULARY, DIM)
        self.backbone = backbone
        self.head = None if tied else nn.Linear(DIM, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.stem(ids)
        return self._logits(self.backbone(tokens, Layout.of(tokens)).last)

    def extend(self, ids: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden, state = self.backbone.extend(self.stem(ids), state)
        return self._logits(hidden), state

    def start(self, ids: Tensor) -> LayerState:
        """Return the state behind a prompt."""
        with torch.no_grad():
            return self.extend(ids, self.backbone.init_state(1))[1]

    def _logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.stem.weight.T if self.head is None else self.head(hidden)


def make_language(mixer: type[Mixer] = Attention, *, tied: bool = True, seed: int = 0) -> Language:
    torch.manual_seed(seed)

    def make_layer(index: int, dim: int) -> Layer:
        return Layer(
            Branch(adapt(mixer, dim, grid=(16,), causal=True), nn.RMSNorm(dim)),
            Branch(SwiGLU(dim, HIDDEN), nn.RMSNorm(dim)),
        )

    return Language(Sequence(make_layer, dim=DIM, depth=DEPTH, norm=nn.RMSNorm(DIM)), tied=tied).eval()


def make_ids(batch: int = 2, length: int = 11, seed: int = 1) -> Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


def make_llama() -> tuple[Any, Language, dict[str, Counterpart]]:
    """Return a tiny Llama of transformers, ours with its weights, and whose maps are whose."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=DIM,
        intermediate_size=HIDDEN,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    peer = LlamaForCausalLM(config).eval()

    def make_layer(index: int, dim: int) -> Layer:
        attention = Attention(dim, num_heads=HEADS, num_kv_heads=KEY_HEADS, causal=True, rotary=Rotary())
        norms = [nn.RMSNorm(dim, eps=config.rms_norm_eps) for _ in range(2)]
        return Layer(Branch(attention, norms[0]), Branch(SwiGLU(dim, HIDDEN), norms[1]))

    norm = nn.RMSNorm(DIM, eps=config.rms_norm_eps)
    ours = Language(Sequence(make_layer, dim=DIM, depth=DEPTH, norm=norm), tied=False).eval()
    counterparts = {}
    for index in range(DEPTH):
        mixer, channel = (f"backbone.layers.{index}.branches.{branch}.op" for branch in range(2))
        theirs = f"model.layers.{index}"
        counterparts |= {
            f"{mixer}.query": Counterpart((f"{theirs}.self_attn.q_proj",), _interleaved(HEADS)),
            f"{mixer}.key": Counterpart((f"{theirs}.self_attn.k_proj",), _interleaved(KEY_HEADS)),
            f"{mixer}.value": Counterpart((f"{theirs}.self_attn.v_proj",)),
            f"{mixer}.out": Counterpart((f"{theirs}.self_attn.o_proj",)),
            f"{channel}.gate_up": Counterpart((f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj")),
            f"{channel}.down": Counterpart((f"{theirs}.mlp.down_proj",)),
        }
    _copy(peer, ours, counterparts)
    return peer, ours, counterparts


@torch.no_grad()
def _copy(peer: nn.Module, ours: Language, counterparts: dict[str, Counterpart]) -> None:
    for name, other in counterparts.items():
        weight = torch.cat([peer.get_submodule(each).get_parameter("weight") for each in other.names])
        ours.get_submodule(name).get_parameter("weight").copy_(weight if other.rows is None else weight[other.rows])
    pairs = {"stem": "model.embed_tokens", "head": "lm_head", "backbone.norm": "model.norm"}
    for index in range(DEPTH):
        for branch, norm in enumerate(("input_layernorm", "post_attention_layernorm")):
            pairs[f"backbone.layers.{index}.branches.{branch}.norm"] = f"model.layers.{index}.{norm}"
    for name, theirs in pairs.items():
        ours.get_submodule(name).get_parameter("weight").copy_(peer.get_submodule(theirs).get_parameter("weight"))


def _interleaved(heads: int) -> Tensor:
    """Return the rows of halves side by side: Llama rotates channel i with i + d / 2, ours 2 i with 2 i + 1."""
    rows = torch.arange(heads * (DIM // HEADS)).unflatten(0, (heads, 2, -1))
    return rows.transpose(1, 2).flatten()
