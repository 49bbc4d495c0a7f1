"""Gated linear attention: a matrix state that every token fades channel by channel.

Shapes: B batch, L tokens, D width, H heads, V = D / H value size, K = V // 2 key size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.attention import check_heads
from omniform.mixers.base import Cost, Mixer, State, Traits
from omniform_kernels.gated_linear_attention import gated_linear_attention

__all__ = ["GatedLinearAttention", "GatedLinearAttentionState"]

_GATE_RANK = 16
_GATE_TEMPERATURE = 16.0  # tau: gates start near 0.5^(1/16) = 0.96


@dataclass(frozen=True, eq=False)
class GatedLinearAttentionState(State):
    """What the heads remember, `(B, H, K, V)`."""

    memory: Tensor


class GatedLinearAttention(Mixer):
    r"""Attend through a matrix state with a gate for each key channel, computed from the token.

    .. math::
        S_t = \operatorname{diag}(\alpha_t) S_{t-1} + k_t^\top v_t, \qquad
        \alpha_t = \sigma(x_t W_1 W_2 + b)^{1/\tau}, \qquad
        y_t = (\operatorname{swish}(x_t W_r + b_r) \odot \operatorname{LN}(K^{-1/2} q_t S_t)) W_O

    with W_1 of rank 16, tau = 16, queries and keys of half the width, and the norm over each head.

    Args:
        dim: width D.
        num_heads: heads H; a divisor of D with D / H >= 2, `default_heads(dim)` if None.

    Raises:
        ConfigError: if the heads do not divide the width, or are smaller than that.

    Source: Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, arXiv 2312.06635.
    """

    name = "gla"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(self, dim: int, *, num_heads: int | None = None, causal: bool = True) -> None:
        super().__init__(dim, causal=causal)
        self.num_heads, _ = check_heads(dim, num_heads)
        if dim < 2 * self.num_heads:
            raise ConfigError(f"expected heads of two channels at least, got {self.num_heads} heads in the width {dim}")
        self.head_dim = dim // self.num_heads
        self.key_dim = self.num_heads * (self.head_dim // 2)
        self.query = nn.Linear(dim, self.key_dim, bias=False)
        self.key = nn.Linear(dim, self.key_dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.forget = nn.Sequential(nn.Linear(dim, _GATE_RANK, bias=False), nn.Linear(_GATE_RANK, self.key_dim))
        self.gate = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(self.head_dim)
        self.out = nn.Linear(dim, dim, bias=False)
        self.apply(_initialise)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> GatedLinearAttentionState:
        weight = self.out.weight
        dtype = torch.promote_types(dtype or weight.dtype, torch.float32)
        shape = (batch, self.num_heads, self.key_dim // self.num_heads, self.head_dim)
        return GatedLinearAttentionState(weight.new_zeros(shape, device=device, dtype=dtype))

    def advance(
        self, x: Tensor, state: GatedLinearAttentionState, layout: Layout
    ) -> tuple[Tensor, GatedLinearAttentionState]:
        q, k, v = (self._heads(project(x)) for project in (self.query, self.key, self.value))
        log_decay = self._heads(F.logsigmoid(self.forget(x)) / _GATE_TEMPERATURE)  # (B, L, H, K)
        if layout.mask is not None:
            padded = ~layout.mask[..., None, None]
            k, log_decay = k.masked_fill(padded, 0), log_decay.masked_fill(padded, 0)
        out, memory = gated_linear_attention(q, k, v, log_decay, initial_state=state.memory)  # (B, L, H, V)
        y = self.norm(out).flatten(-2)  # (B, L, D)
        return self.out(F.silu(self.gate(x)) * y), GatedLinearAttentionState(memory)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count projections exactly, and 5 operations per token and entry of the state: decay 1, write 2, read 2."""
        dim, key_dim = self.dim, self.key_dim
        weights = 2 * dim * key_dim + 3 * dim**2 + _GATE_RANK * (dim + key_dim)
        vectors = key_dim + dim + 2 * self.head_dim  # biases of the two gates, and the norm
        memory = key_dim * self.head_dim
        return Cost(parameters=weights + vectors, flops=(2 * weights + 5 * memory) * prod(grid))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight, gain=2**-2.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
