"""Linear attention: softmax replaced by a feature map, so that keys and values sum up in one small matrix.

Shapes: B batch, L tokens, D width, H heads, K = D / H head size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.layout import Layout
from omniform.mixers.attention import check_heads
from omniform.mixers.base import Cost, Mixer, State, Traits
from omniform_kernels.gated_linear_attention import gated_linear_attention

__all__ = ["LinearAttention", "LinearAttentionState"]

_SMALLEST_NORMALISER = 1e-6  # reached only where no key is valid


@dataclass(frozen=True, eq=False)
class LinearAttentionState(State):
    """Sums over the tokens so far: phi(k)^T v and, as last column, phi(k)^T; `(B, H, K, K + 1)`."""

    memory: Tensor


class LinearAttention(Mixer):
    r"""Attend through the feature map phi(x) = elu(x) + 1 in time linear in the number of tokens.

    .. math::
        y_i = \frac{\phi(q_i) \sum_j \phi(k_j)^\top v_j}{\phi(q_i) \sum_j \phi(k_j)^\top}

    per head, where j runs over all tokens, or up to i when causal. The form that is not causal knows no order: it is
    permutation-equivariant and takes grids of any rank by flattening them. The causal form takes no global tokens:
    they would carry the future to the past in the next layer.

    Args:
        dim: width D.
        num_heads: heads H; a divisor of D, `default_heads(dim)` if None.

    Raises:
        ConfigError: if the heads do not divide the width.

    Source: Katharopoulos et al., Transformers are RNNs, arXiv 2006.16236.
    """

    name = "linear-attention"
    traits = Traits(
        ranks=(1, 2, 3),
        axes=("ordered", "set", "circular"),
        causal="optional",
        stateful=True,
        global_tokens=True,
        cost="linear",
    )

    def __init__(self, dim: int, *, num_heads: int | None = None, causal: bool = False) -> None:
        super().__init__(dim, causal=causal)
        if causal:
            self.traits = replace(self.traits, axes=("ordered",), global_tokens=False)
        self.num_heads, _ = check_heads(dim, num_heads)
        self.head_dim = dim // self.num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        if self.causal:
            return super().mix(x, layout)
        mask = None if layout.mask is None else layout.mask.flatten(1)
        q, k, v = self._project(x.flatten(1, -2), mask)
        memory = torch.einsum("blhk,blhv->bhkv", k, v)  # (B, H, K, K + 1)
        return self._normalise(torch.einsum("blhk,bhkv->blhv", q, memory)).view_as(x)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LinearAttentionState:
        weight = self.out.weight
        dtype = torch.promote_types(dtype or weight.dtype, torch.float32)
        shape = (batch, self.num_heads, self.head_dim, self.head_dim + 1)
        return LinearAttentionState(weight.new_zeros(shape, device=device, dtype=dtype))

    def advance(self, x: Tensor, state: LinearAttentionState, layout: Layout) -> tuple[Tensor, LinearAttentionState]:
        q, k, v = self._project(x, layout.mask)
        out, memory = gated_linear_attention(q, k, v, scale=1.0, initial_state=state.memory)
        return self._normalise(out), LinearAttentionState(memory)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count projections, the sums over keys and the reads by queries, all of them matrix products."""
        weights = 4 * self.dim**2
        memory = self.dim * (self.head_dim + 1)
        return Cost(parameters=weights + 4 * self.dim, flops=(2 * weights + 4 * memory) * prod(grid))

    def _project(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return phi(q), phi(k) and v with a column of ones, which makes the normaliser one more value."""
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(-3)  # 3 x (B, L, H, K)
        k = F.elu(k) + 1
        if mask is not None:
            k = k.masked_fill(~mask[..., None, None], 0)
        return F.elu(q) + 1, k, F.pad(v, (0, 1), value=1.0)

    def _normalise(self, out: Tensor) -> Tensor:
        """Divide values by their normaliser, the last column of (B, L, H, K + 1), and project."""
        y = out[..., :-1] / out[..., -1:].clamp(min=_SMALLEST_NORMALISER)
        return self.out(y.flatten(-2))  # (B, L, D)
