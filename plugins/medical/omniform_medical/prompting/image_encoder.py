"""The image encoder of SAM: a ViT of windowed and global layers with relative positions.

Shapes: B batch, S side of the image, `(h, w)` tokens, D width, H heads, d = D / H, W window, E width of the embedding.

Attributes are named as in transformers' checkpoints, whose weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform_medical.prompting.shape import SamShape

__all__ = ["GridNorm", "ImageEncoder"]

_EPS = 1e-6


class GridNorm(nn.LayerNorm):
    """Normalise over the channels of `(B, C, h, w)`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPS)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class Perceptron(nn.Module):
    """`lin2(act(lin1(x)))`."""

    def __init__(self, dim: int, hidden: int, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))


class RelativeAttention(nn.Module):
    """Attention within a square of tokens, `(B, n, n, D)`, with decomposed relative positions (MViTv2, 2112.01526).

    To the score of query (i, j) and key (k, l) comes `q . (r_h[i - k] + r_w[j - l])`.
    """

    def __init__(self, dim: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[1]
        parts = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.num_heads, -1))  # (B, L, 3, H, d)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, H, L, d) each
        apart = torch.arange(side, device=x.device)
        apart = apart[:, None] - apart + side - 1
        squares = query.unflatten(2, (side, side))  # (B, H, n, n, d)
        rows = torch.einsum("bhijd,ikd->bhijk", squares, self.rel_pos_h[apart].to(query.dtype))
        columns = torch.einsum("bhijd,jld->bhijl", squares, self.rel_pos_w[apart].to(query.dtype))
        bias = (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)  # (B, H, L, L)
        y = F.scaled_dot_product_attention(query, key, value, bias)
        return self.proj(y.transpose(1, 2).flatten(2)).unflatten(1, (side, side))


class EncoderLayer(nn.Module):
    """A pre-norm layer on `(B, h, w, D)`, whose attention sees windows of `window` tokens, or everything for 0."""

    def __init__(self, shape: SamShape, window: int, side: int) -> None:
        super().__init__()
        self.window = window
        self.layer_norm1 = nn.LayerNorm(shape.width, eps=_EPS)
        self.attn = RelativeAttention(shape.width, shape.heads, window or side)
        self.layer_norm2 = nn.LayerNorm(shape.width, eps=_EPS)
        self.mlp = Perceptron(shape.width, 4 * shape.width, F.gelu)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer_norm1(x)
        x = x + (_windowed(self.attn, y, self.window) if self.window else self.attn(y))
        return x + self.mlp(self.layer_norm2(x))


class ImageEncoder(nn.Module):
    """Embed square images: `(B, 3, S, S) -> (B, E, S / patch, S / patch)` (SAM, arXiv 2304.02643).

    Args:
        side: S, a multiple of the patch.
    """

    def __init__(self, shape: SamShape, side: int) -> None:
        super().__init__()
        tokens = side // shape.patch
        self.patch_embed = nn.Module()
        self.patch_embed.projection = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, tokens, shape.width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(shape, 0 if shape.is_global(layer) else shape.window, tokens) for layer in range(shape.layers)
        )
        self.neck = Neck(shape.width, shape.decoder)

    def tokens(self, images: Tensor) -> Tensor:
        """Return patches with their positions, `(B, h, w, D)`."""
        projection = self.patch_embed.projection
        assert isinstance(projection, nn.Conv2d)
        return projection(images).movedim(1, -1) + self.pos_embed

    def forward(self, images: Tensor, inject: Callable[[int, Tensor], Tensor] | None = None) -> Tensor:
        """Embed images.

        Args:
            inject: what to make of the tokens `(B, h, w, D)` before layer i, as `inject(i, tokens)`.
        """
        x = self.tokens(images)
        for index, layer in enumerate(self.layers):
            x = layer(x if inject is None else inject(index, x))
        return self.neck(x.movedim(-1, 1))


class Neck(nn.Module):
    """Two convolutions to the width of the decoder."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, out_dim, 1, bias=False)
        self.layer_norm1 = GridNorm(out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False)
        self.layer_norm2 = GridNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_norm2(self.conv2(self.layer_norm1(self.conv1(x))))


def _windowed(attend: Callable[[Tensor], Tensor], x: Tensor, window: int) -> Tensor:
    """Attend within windows of `(B, h, w, D)`; the last ones are filled up with zeros, as SAM has it."""
    batch, height, width, _ = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.unflatten(2, (columns, window)).unflatten(1, (rows, window)).transpose(2, 3)
    y = attend(x.flatten(0, 2)).unflatten(0, (batch, rows, columns)).transpose(2, 3)
    return y.flatten(3, 4).flatten(1, 2)[:, :height, :width]
