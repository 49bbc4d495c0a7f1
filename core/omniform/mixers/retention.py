"""Multi-scale retention: linear attention whose heads forget at fixed, different rates.

Shapes: B batch, L tokens, D width, H heads, K = D / H key size, V = 2 D / H value size.
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

__all__ = ["Retention", "RetentionState"]


@dataclass(frozen=True, eq=False)
class RetentionState(State):
    """What the heads remember `(B, H, K, V)`, and how many tokens came before `(B,)`."""

    memory: Tensor
    position: Tensor


class Retention(Mixer):
    r"""Retain values under rotated keys, each head with its own decay.

    .. math::
        S_n = \gamma_h S_{n-1} + (k_n e^{i n \theta})^\top v_n, \qquad
        o_n = K^{-1/2}\, (q_n e^{i n \theta}) S_n, \qquad
        y = W_O (\operatorname{swish}(x W_G) \odot \operatorname{GroupNorm}_H(o))

    with gamma_h = 1 - 2^(-5-h) for h = 0..H-1 and the K / 2 angles theta from 1 down to 1 / 10000 in geometric steps;
    values and gate are 2 D wide.

    Args:
        dim: width D.
        num_heads: heads H; D / H must be an even number, `default_heads(dim)` if None.

    Raises:
        ConfigError: if the heads do not divide the width, or their size is odd.

    Source: Sun et al., Retentive Network, arXiv 2307.08621; initialised as the authors' code does.
    """

    name = "retention"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(self, dim: int, *, num_heads: int | None = None, causal: bool = True) -> None:
        super().__init__(dim, causal=causal)
        self.num_heads, _ = check_heads(dim, num_heads)
        if dim // self.num_heads % 2:
            raise ConfigError(
                f"retention rotates pairs of channels: expected heads of an even size, got {self.num_heads} heads in "
                f"the width {dim}; choose another width or number of heads"
            )
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, 2 * dim, bias=False)
        self.gate = nn.Linear(dim, 2 * dim, bias=False)
        self.norm = nn.GroupNorm(self.num_heads, 2 * dim)
        self.out = nn.Linear(2 * dim, dim, bias=False)
        for linear in (self.query, self.key, self.value, self.gate):
            nn.init.xavier_uniform_(linear.weight, gain=2**-2.5)
        nn.init.xavier_uniform_(self.out.weight)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> RetentionState:
        weight = self.out.weight
        dtype = torch.promote_types(dtype or weight.dtype, torch.float32)
        head_dim = self.dim // self.num_heads
        return RetentionState(
            memory=weight.new_zeros(batch, self.num_heads, head_dim, 2 * head_dim, device=device, dtype=dtype),
            position=weight.new_zeros(batch, device=device, dtype=torch.int64),
        )

    def advance(self, x: Tensor, state: RetentionState, layout: Layout) -> tuple[Tensor, RetentionState]:
        B, L, _ = x.shape
        valid = layout.valid(B, x.device)
        angle = self._angles(state.position, x)  # (B, L, 1, K / 2)
        q = _rotate(self._heads(self.query(x)), angle)  # (B, L, H, K)
        k = _rotate(self._heads(self.key(x)), angle).masked_fill(~valid[..., None, None], 0)
        log_decay = self._log_decays(angle) * valid[..., None]  # (B, L, H)
        out, memory = gated_linear_attention(
            q, k, self._heads(self.value(x)), log_decay, initial_state=state.memory
        )  # (B, L, H, V), (B, H, K, V)
        y = self.norm(out.reshape(B * L, -1)).view(B, L, -1)  # (B, L, 2 D)
        return self.out(F.silu(self.gate(x)) * y), RetentionState(memory, state.position + valid.sum(1))

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count projections exactly, and 5 operations per token and entry of the state: decay 1, write 2, read 2."""
        weights = 8 * self.dim**2
        memory = 2 * self.dim**2 // self.num_heads
        return Cost(parameters=weights + 4 * self.dim, flops=(2 * weights + 5 * memory) * prod(grid))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))

    def _log_decays(self, like: Tensor) -> Tensor:
        """Return log gamma_h, (H,)."""
        head = torch.arange(self.num_heads, device=like.device, dtype=like.dtype)
        return torch.log1p(-torch.exp2(-5 - head))

    def _angles(self, position: Tensor, x: Tensor) -> Tensor:
        """Return n theta for the tokens of a chunk that starts at `position`, in float32 at least."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        pairs = self.dim // self.num_heads // 2
        theta = 10000 ** -torch.linspace(0, 1, pairs, device=x.device, dtype=dtype)
        step = position[:, None] + torch.arange(x.shape[1], device=x.device)  # (B, L)
        return step[..., None, None].to(dtype) * theta


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn pairs of neighbouring channels (B, L, H, K) by angles (B, L, 1, K / 2)."""
    cos, sin = angle.cos(), angle.sin()
    real, imaginary = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)
