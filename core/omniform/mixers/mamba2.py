"""Mamba-2: a state space with one decay a head, which makes it linear attention.

Shapes: B batch, L tokens, D width, E = 2 D inner width, P head size, H = E / P heads, G groups, N states a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.base import Cost, Mixer, State, Traits
from omniform.mixers.recurrence import initial_steps, last_inputs
from omniform_kernels.gated_linear_attention import gated_linear_attention
from omniform_kernels.short_convolution import short_convolution

__all__ = ["Mamba2", "Mamba2State"]

_HEAD_DIM = 64
_RATE_RANGE = (1.0, 16.0)  # of the initial -A
_EPS = 1e-5


@dataclass(frozen=True, eq=False)
class Mamba2State(State):
    """The last inputs of the convolution `(B, taps - 1, E + 2 G N)`, and what the heads remember `(B, H, N, P)`."""

    inputs: Tensor
    memory: Tensor


class Mamba2(Mixer):
    r"""Scan a state space that forgets at one rate a head, chosen with its step size by the token.

    .. math::
        (z, u, \delta) = x W_{in}, \qquad (v, B, C) = \operatorname{SiLU}(\operatorname{conv}(u)), \qquad
        \Delta = \operatorname{softplus}(\delta + b), \qquad A = -e^{A_{log}}

    .. math::
        S_t = e^{\Delta_t A} S_{t-1} + B_t^\top (\Delta_t v_t), \qquad
        y_t = \operatorname{RMSNorm}\bigl((C_t S_t + D v_t) \odot \operatorname{SiLU}(z_t)\bigr) W_{out}

    per head; B and C are shared by the heads of a group, and the norm runs over each group's channels. Initialised as
    in the authors' code: -A uniform in [1, 16], D = 1, and b such that softplus(b) is log-uniform in [0.001, 0.1].

    Args:
        dim: width D.
        expand: inner width over D.
        head_dim: P, a divisor of the inner width; the largest one up to 64 if None.
        num_states: N.
        num_groups: G, a divisor of the number of heads.
        taps: length of the causal depthwise convolution.

    Raises:
        ConfigError: if the heads do not divide the inner width, or the groups the heads.

    Source: Dao and Gu, Transformers are SSDs: Generalized Models and Efficient Algorithms Through Structured State
    Space Duality, arXiv 2405.21060.
    """

    name = "mamba2"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(
        self,
        dim: int,
        *,
        expand: int = 2,
        head_dim: int | None = None,
        num_states: int = 64,
        num_groups: int = 1,
        taps: int = 4,
        causal: bool = True,
    ) -> None:
        super().__init__(dim, causal=causal)
        inner = expand * dim
        self.head_dim = _largest_divisor(inner) if head_dim is None else head_dim
        self.num_heads, self.num_groups = inner // self.head_dim, num_groups
        if inner % self.head_dim or self.num_heads % num_groups:
            raise ConfigError(
                f"expected heads that divide the inner width {inner} and groups that divide the heads, got heads of "
                f"{self.head_dim} channels and {num_groups} groups; choose others"
            )
        self.sizes = (inner, num_groups * num_states, num_groups * num_states)  # of v, B and C
        mixed = sum(self.sizes)
        self.input = nn.Linear(dim, inner + mixed + self.num_heads, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(mixed, taps).uniform_(-(taps**-0.5), taps**-0.5))
        self.conv_bias = nn.Parameter(torch.empty(mixed).uniform_(-(taps**-0.5), taps**-0.5))
        self.step_bias = nn.Parameter(initial_steps(self.num_heads))
        self.A_log = nn.Parameter(torch.empty(self.num_heads).uniform_(*_RATE_RANGE).log())
        self.D = nn.Parameter(torch.ones(self.num_heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, dim, bias=False)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Mamba2State:
        mixed, taps = self.conv_weight.shape
        inputs = self.conv_weight.new_zeros(batch, taps - 1, mixed, device=device, dtype=dtype)
        shape = (batch, self.num_heads, self.sizes[1] // self.num_groups, self.head_dim)
        return Mamba2State(inputs, inputs.new_zeros(shape, dtype=torch.promote_types(inputs.dtype, torch.float32)))

    def advance(self, x: Tensor, state: Mamba2State, layout: Layout) -> tuple[Tensor, Mamba2State]:
        z, u, delta = self.input(x).split((self.sizes[0], sum(self.sizes), self.num_heads), dim=-1)
        before = state.inputs.to(u)
        mixed, inputs = short_convolution(u, self.conv_weight, self.conv_bias, initial_state=before, activation="silu")
        v, B, C = mixed.split(self.sizes, dim=-1)  # (B, L, E), 2 x (B, L, G N)
        dt = F.softplus(delta + self.step_bias)  # (B, L, H)
        if layout.mask is not None:
            dt = dt.masked_fill(~layout.mask[..., None], 0)
            inputs = last_inputs(before, u, layout.mask)
        v = v.unflatten(-1, (self.num_heads, self.head_dim))  # (B, L, H, P)
        y, memory = gated_linear_attention(
            self._heads(C),
            self._heads(B),
            dt[..., None] * v,
            -dt * self.A_log.exp(),
            scale=1.0,
            initial_state=state.memory,
        )  # (B, L, H, P), (B, H, N, P)
        y = (y + self.D[:, None] * v).flatten(-2) * F.silu(z)  # (B, L, E)
        return self.out(self._normalise(y)), Mamba2State(inputs, memory)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count projections and convolution exactly, and 5 operations per token and entry of the state.

        These are: decay 1, write 2, read 2.
        """
        (mixed, taps), (inner, states, _) = self.conv_weight.shape, self.sizes
        weights = self.dim * (2 * inner + mixed + self.num_heads) + mixed * taps
        vectors = mixed + inner + 3 * self.num_heads  # the convolution's bias; the norm; step, A and D
        memory = inner * states // self.num_groups
        return Cost(parameters=weights + vectors, flops=(2 * weights + 5 * memory) * prod(grid))

    def _heads(self, x: Tensor) -> Tensor:
        """Hand each group's states (B, L, G N) to its heads, (B, L, H, N)."""
        return x.unflatten(-1, (self.num_groups, -1)).repeat_interleave(self.num_heads // self.num_groups, dim=-2)

    def _normalise(self, y: Tensor) -> Tensor:
        groups = y.unflatten(-1, (self.num_groups, -1))
        return F.rms_norm(groups, groups.shape[-1:], eps=_EPS).flatten(-2) * self.norm_weight


def _largest_divisor(inner: int) -> int:
    return max(size for size in range(1, _HEAD_DIM + 1) if inner % size == 0)
