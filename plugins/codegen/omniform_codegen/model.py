"""A causal language model over any mixer that has a causal form.

Shapes: B batch, L tokens, V vocabulary, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.backbones import Sequence
from omniform.channel import ChannelMixer, MatFormer, Mlp, SwiGLU
from omniform.layers import Branch, Layer, LayerState
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size

__all__ = ["CausalModel", "causal_model"]


class CausalModel(nn.Module):
    r"""Predict each token from those before it.

    .. math::
        z_t = W\, \operatorname{backbone}(E_{x_1}, \dots, E_{x_t})_t, \qquad
        p(x_{t+1} \mid x_{\le t}) = \operatorname{softmax}(z_t)

    Args:
        backbone: causal layers and the final norm.
        dim: width D.
        vocabulary: V.
        tied: take the embedding E for W.
    """

    def __init__(self, backbone: Sequence, *, dim: int, vocabulary: int, tied: bool = True) -> None:
        super().__init__()
        self.stem = nn.Embedding(vocabulary, dim)
        self.backbone = backbone
        self.head = None if tied else nn.Linear(dim, vocabulary, bias=False)
        nn.init.normal_(self.stem.weight, std=dim**-0.5)

    @property
    def output_weight(self) -> Tensor:
        """W, (V, D)."""
        return self.stem.weight if self.head is None else self.head.weight

    def hidden(self, ids: Tensor, layout: Layout | None = None) -> Tensor:
        """Return what the logits are a linear map of, `(B, L, D)`, for ids `(B, L)`; a mask may tell padding."""
        tokens = self.stem(ids)
        return self.backbone(tokens, Layout.of(tokens) if layout is None else layout).last

    def forward(self, ids: Tensor, layout: Layout | None = None) -> Tensor:
        """Return logits `(B, L, V)` of the token behind each of `ids` (B, L)."""
        return self.logits(self.hidden(ids, layout))

    def init_state(self, batch: int) -> LayerState:
        """Return the state before the first token; every mixer must have one."""
        weight = self.stem.weight
        return self.backbone.init_state(batch, device=weight.device, dtype=weight.dtype)

    def advance(self, ids: Tensor, state: LayerState, mask: Tensor | None = None) -> tuple[Tensor, LayerState]:
        """Continue from `state` with ids `(B, n)`, of which `mask` (B, n) tells the valid ones.

        Returns:
            What the logits are a linear map of, `(B, n, D)`, and the state behind; over any partition of a sequence
            these are those of `hidden`, and the old state stays usable.
        """
        return self.backbone.extend(self.stem(ids), state, Layout((ids.shape[1],), mask=mask))

    def extend(self, ids: Tensor, state: LayerState, mask: Tensor | None = None) -> tuple[Tensor, LayerState]:
        """Return logits `(B, n, V)` of the tokens behind each of `ids` (B, n), and the state, as `advance` does."""
        hidden, state = self.advance(ids, state, mask)
        return self.logits(hidden), state

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits `(..., V)` of what `hidden` returned."""
        return F.linear(hidden, self.stem.weight) if self.head is None else self.head(hidden)


def causal_model(
    mixer: type[Mixer], size: Size, *, vocabulary: int, context: int, channel: str = "swiglu", dropout: float = 0.0
) -> CausalModel:
    """Build pre-norm layers of a mixer and a channel mixer under tied embeddings.

    Args:
        context: tokens that training sees at once.
        channel: `"swiglu"`, `"mlp"` or `"matformer"`.
    """
    channels: dict[str, type[ChannelMixer]] = {"swiglu": SwiGLU, "mlp": Mlp, "matformer": MatFormer}

    def make_layer(index: int, dim: int) -> Layer:
        return Layer(
            Branch(adapt(mixer, dim, grid=(context,), causal=True), nn.RMSNorm(dim), dropout=dropout),
            Branch(channels[channel](dim, size.hidden), nn.RMSNorm(dim), dropout=dropout),
        )

    backbone = Sequence(make_layer, dim=size.dim, depth=size.depth, norm=nn.RMSNorm(size.dim))
    model = CausalModel(backbone, dim=size.dim, vocabulary=vocabulary)
    _shrink_branches(model, size.depth)
    return model


@torch.no_grad()
def _shrink_branches(model: CausalModel, depth: int) -> None:
    """Scale what every branch adds by `(2 depth)^-1/2`, so that depth does not grow the sum (GPT-2)."""
    for name, module in model.backbone.named_modules():
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in ("out", "down"):
            module.weight.mul_((2 * depth) ** -0.5)
