"""Softmax attention from tokens to a context.

Shapes: B batch, L tokens, M context tokens, D width, Dc context width, H heads, K key heads, d head width.
"""

from __future__ import annotations

from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from omniform.errors import IncompatibleError
from omniform.layout import Layout, pack, unpack
from omniform.mixers.attention import check_heads
from omniform.mixers.base import Cost, CrossMixer

__all__ = ["CrossAttention"]


class CrossAttention(CrossMixer):
    r"""Let tokens look at a context by softmax attention with H heads.

    .. math::
        y_i = W_o \sum_j \operatorname{softmax}_j\!\left(\frac{W_q x_i \cdot W_k c_j}{\sqrt d}\right) W_v c_j

    Both sides may be grids, padded or packed; packed sequences pair with as many contexts. A token whose context is all
    padding gets zeros.

    Args:
        dim: width D of the tokens.
        context_dim: width of the context; D if None.
        num_heads: H; `default_heads(dim)` if None.
        num_kv_heads: K; H if None.

    Raises:
        ConfigError: if the heads do not divide the width, or each other.
        IncompatibleError: if tokens and contexts are not equally many sequences.

    Source: Vaswani et al., arXiv 1706.03762.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int | None = None,
        *,
        num_heads: int | None = None,
        num_kv_heads: int | None = None,
    ) -> None:
        super().__init__(dim, dim if context_dim is None else context_dim)
        self.num_heads, self.num_kv_heads = check_heads(dim, num_heads, num_kv_heads)
        self.head_dim = dim // self.num_heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(self.context_dim, self.num_kv_heads * self.head_dim, bias=False)
        self.value = nn.Linear(self.context_dim, self.num_kv_heads * self.head_dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, context: Tensor, layout: Layout, context_layout: Layout) -> Tensor:
        """Mix `x` (B, *grid, D) with `context` (B, *context_grid, Dc); a result of the shape of `x`."""
        layout.check(x)
        context_layout.check(context)
        tokens, valid = _pad(x, layout)  # (B, L, D)
        context, mask = _pad(context, context_layout)  # (B, M, Dc), (B, M)
        if tokens.shape[0] != context.shape[0]:
            raise IncompatibleError(f"expected a context per sequence, got {len(context)} for {len(tokens)} sequences")
        q, k, v = (self._split(t) for t in (self.query(tokens), self.key(context), self.value(context)))
        if mask is None:
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            some = mask.any(1)[:, None, None, None]
            y = F.scaled_dot_product_attention(q, k, v, mask[:, None, None] | ~some, enable_gqa=True) * some
        y = self.out(y.transpose(1, 2).flatten(2))  # (B, L, D)
        if layout.offsets is not None and valid is not None:
            return pack(y, valid)
        return y.unflatten(1, layout.grid)

    def cost(self, grid: tuple[int, ...], context_grid: tuple[int, ...]) -> Cost:
        """Return the cost of one sample: projections of either side, scores and sums 4 L M D."""
        length, context_length = prod(grid), prod(context_grid)
        own = 2 * self.dim**2
        other = 2 * self.context_dim * self.num_kv_heads * self.head_dim
        flops = 2 * length * own + 2 * context_length * other + 4 * length * context_length * self.dim
        return Cost(parameters=own + other, flops=flops)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, heads, L, d)


def _pad(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Return tokens `(B, L, D)`, zero where padded, and their mask `(B, L)` if any is."""
    if layout.offsets is not None:
        return unpack(x, layout.offsets)
    x = x.flatten(1, -2)
    if layout.mask is None:
        return x, None
    mask = layout.mask.flatten(1)
    return x.masked_fill(~mask[..., None], 0), mask
