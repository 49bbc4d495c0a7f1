"""DeltaNet: a matrix state that every token corrects, so that a key's new value takes the place of its old one.

Shapes: B batch, L tokens, D width, H heads, K = D / H head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from omniform.layout import Layout
from omniform.mixers.attention import check_heads
from omniform.mixers.base import Cost, Mixer, State, Traits
from omniform.mixers.recurrence import last_inputs
from omniform_kernels.delta_rule import delta_rule
from omniform_kernels.norm import rms_norm
from omniform_kernels.short_convolution import short_convolution

__all__ = ["DeltaNet", "DeltaNetState", "unit_length"]

_EPS = 1e-5


@dataclass(frozen=True, eq=False)
class DeltaNetState(State):
    """The last inputs of the convolution `(B, taps - 1, channels)`, and what the heads remember `(B, H, K, V)`."""

    inputs: Tensor
    memory: Tensor


class DeltaNet(Mixer):
    r"""Attend through a matrix state whose answer to each key is moved towards the value by the delta rule.

    .. math::
        (q, k, v) = \operatorname{SiLU}(\operatorname{conv}(x W)), \qquad
        q \leftarrow q / \lVert q \rVert, \quad k \leftarrow k / \lVert k \rVert, \qquad \beta = \sigma(x W_\beta)

    .. math::
        S_t = (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top, \qquad
        y_t = \operatorname{RMSNorm}(K^{-1/2} q_t S_t)\, W_O

    per head, beta too, with the norm over each head.

    Args:
        dim: width D.
        num_heads: heads H; a divisor of D, `default_heads(dim)` if None.
        taps: length of the causal depthwise convolution.

    Raises:
        ConfigError: if the heads do not divide the width.

    Source: Yang et al., Parallelizing Linear Transformers with the Delta Rule over Sequence Length, arXiv 2406.06484.
    """

    name = "deltanet"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(self, dim: int, *, num_heads: int | None = None, taps: int = 4, causal: bool = True) -> None:
        super().__init__(dim, causal=causal)
        self.num_heads, _ = check_heads(dim, num_heads)
        self.head_dim = dim // self.num_heads
        self.input = nn.Linear(dim, 3 * dim, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(3 * dim, taps).uniform_(-(taps**-0.5), taps**-0.5))
        self.beta = nn.Linear(dim, self.num_heads, bias=False)
        self.norm_weight = nn.Parameter(torch.ones(self.head_dim))
        self.out = nn.Linear(dim, dim, bias=False)
        for linear in (self.input, self.beta, self.out):
            nn.init.xavier_uniform_(linear.weight, gain=2**-2.5)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DeltaNetState:
        channels, taps = self.conv_weight.shape
        inputs = self.conv_weight.new_zeros(batch, taps - 1, channels, device=device, dtype=dtype)
        shape = (batch, self.num_heads, self.head_dim, self.head_dim)
        return DeltaNetState(inputs, inputs.new_zeros(shape, dtype=torch.promote_types(inputs.dtype, torch.float32)))

    def advance(self, x: Tensor, state: DeltaNetState, layout: Layout) -> tuple[Tensor, DeltaNetState]:
        u = self.input(x)  # (B, L, 3 D)
        before = state.inputs.to(u)
        mixed, inputs = short_convolution(u, self.conv_weight, initial_state=before, activation="silu")
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in mixed.chunk(3, dim=-1))  # (B, L, H, K)
        beta = self.beta(x).sigmoid()  # (B, L, H)
        if layout.mask is not None:
            beta = beta.masked_fill(~layout.mask[..., None], 0)
            inputs = last_inputs(before, u, layout.mask)
        out, memory = delta_rule(unit_length(q), unit_length(k), v, beta, initial_state=state.memory)
        y, _ = rms_norm(out, self.norm_weight, eps=_EPS)  # (B, L, H, K)
        return self.out(y.flatten(-2)), DeltaNetState(inputs, memory)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count projections and convolution exactly, and 6 operations per token and entry of the state.

        These are: correct 4, read 2.
        """
        weights = 4 * self.dim**2 + self.dim * self.num_heads + self.conv_weight.numel()
        memory = self.dim * self.head_dim
        return Cost(parameters=weights + self.head_dim, flops=(2 * weights + 6 * memory) * prod(grid))


def unit_length(x: Tensor) -> Tensor:
    """Divide the last axis by its length; zeros stay zeros."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
