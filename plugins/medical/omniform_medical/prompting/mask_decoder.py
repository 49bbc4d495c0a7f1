"""The mask decoder of SAM: tokens and image look at each other, then each mask token draws its mask.

Shapes: B batch, T tokens, N = h w places of the image, E width, M = 4 masks: one, and three for a prompt that may mean
several things.

Attributes are named as in transformers' checkpoints, whose weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform_medical.prompting.image_encoder import GridNorm, Perceptron
from omniform_medical.prompting.shape import SamShape

__all__ = ["NUM_MASKS", "MaskDecoder"]

NUM_MASKS = 4
_HEADS = 8
_LAYERS = 2
_EPS = 1e-6


class CrossAttention(nn.Module):
    """Attention between two sets of tokens at a width of E / shrink."""

    def __init__(self, dim: int, shrink: int) -> None:
        super().__init__()
        inner = dim // shrink
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        y = F.scaled_dot_product_attention(*(part.unflatten(-1, (_HEADS, -1)).transpose(1, 2) for part in parts))
        return self.out_proj(y.transpose(1, 2).flatten(2))


class TwoWayLayer(nn.Module):
    """Tokens look at each other and at the image, go through a perceptron, and the image looks at them."""

    def __init__(self, dim: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = CrossAttention(dim, 1)
        self.layer_norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.cross_attn_token_to_image = CrossAttention(dim, 2)
        self.layer_norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = Perceptron(dim, hidden, F.relu)
        self.layer_norm3 = nn.LayerNorm(dim, eps=_EPS)
        self.layer_norm4 = nn.LayerNorm(dim, eps=_EPS)
        self.cross_attn_image_to_token = CrossAttention(dim, 2)

    def forward(self, tokens: Tensor, image: Tensor, prompt: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:  # the tokens are the prompt still
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            tokens = tokens + self.self_attn(tokens + prompt, tokens + prompt, tokens)
        tokens = self.layer_norm1(tokens)
        tokens = self.layer_norm2(tokens + self.cross_attn_token_to_image(tokens + prompt, image + places, image))
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        image = self.layer_norm4(image + self.cross_attn_image_to_token(image + places, tokens + prompt, tokens))
        return tokens, image


class TwoWay(nn.Module):
    """Two such layers, and a last look of the tokens at the image."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(dim, hidden, first=index == 0) for index in range(_LAYERS))
        self.final_attn_token_to_image = CrossAttention(dim, 2)
        self.layer_norm_final_attn = nn.LayerNorm(dim)

    def forward(self, prompt: Tensor, image: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        tokens = prompt
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt, places)
        looked = self.final_attn_token_to_image(tokens + prompt, image + places, image)
        return self.layer_norm_final_attn(tokens + looked), image


class Head(nn.Module):
    """A perceptron of three maps with ReLU."""

    def __init__(self, dim: int, hidden: int, out_dim: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(dim, hidden)
        self.layers = nn.ModuleList([nn.Linear(hidden, hidden)])
        self.proj_out = nn.Linear(hidden, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_out(F.relu(self.layers[0](F.relu(self.proj_in(x)))))


class MaskDecoder(nn.Module):
    """Draw masks: `image (B, E, h, w), prompt (B, T, E) -> logits (B, M, 4 h, 4 w), predicted IoU (B, M)`.

    Source: SAM, arXiv 2304.02643.
    """

    def __init__(self, shape: SamShape) -> None:
        super().__init__()
        dim = shape.decoder
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASKS, dim)
        self.transformer = TwoWay(dim, shape.hidden)
        self.upscale_conv1 = nn.ConvTranspose2d(dim, dim // 4, 2, stride=2)
        self.upscale_layer_norm = GridNorm(dim // 4)
        self.upscale_conv2 = nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2)
        self.output_hypernetworks_mlps = nn.ModuleList(Head(dim, dim, dim // 8) for _ in range(NUM_MASKS))
        self.iou_prediction_head = Head(dim, dim, NUM_MASKS)

    def forward(
        self, image: Tensor, prompt: Tensor, places: Tensor, fuse: Callable[[int, Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks.

        Args:
            places: positions of the image's tokens, `(E, h, w)`.
            fuse: what to make of the features on the way up, as `fuse(0, (B, E / 4, 2 h, 2 w))` and
                `fuse(1, (B, E / 8, 4 h, 4 w))`.
        """
        fuse = fuse or (lambda step, features: features)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(len(prompt), -1, -1)
        tokens, flat = self.transformer(
            torch.cat([own, prompt], dim=1), image.flatten(2).mT, places.flatten(1).T.expand(len(prompt), -1, -1)
        )
        y = flat.mT.unflatten(-1, image.shape[2:])
        y = fuse(0, F.gelu(self.upscale_layer_norm(self.upscale_conv1(y))))
        y = fuse(1, F.gelu(self.upscale_conv2(y)))  # (B, E / 8, 4 h, 4 w)
        heads = enumerate(self.output_hypernetworks_mlps, start=1)
        weights = torch.stack([head(tokens[:, index]) for index, head in heads], dim=1)  # (B, M, E / 8)
        return torch.einsum("bmc,bchw->bmhw", weights, y), self.iou_prediction_head(tokens[:, 0])
