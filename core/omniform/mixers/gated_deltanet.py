"""Gated DeltaNet: the delta rule on a state that each head fades as the token says.

Shapes: B batch, L tokens, D width, H heads, K key size, V value size.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.layout import Layout
from omniform.mixers.attention import check_heads
from omniform.mixers.base import Cost, Mixer, Traits
from omniform.mixers.deltanet import DeltaNetState, unit_length
from omniform.mixers.recurrence import initial_steps, last_inputs
from omniform_kernels.delta_rule import delta_rule
from omniform_kernels.norm import rms_norm
from omniform_kernels.short_convolution import short_convolution

__all__ = ["GatedDeltaNet"]

_EPS = 1e-5
_RATE_RANGE = (1e-2, 16.0)  # of the initial rates e^A_log


class GatedDeltaNet(Mixer):
    r"""Attend through a matrix state that fades by a gate of each head, and is corrected by the delta rule.

    .. math::
        (q, k, v) = \operatorname{SiLU}(\operatorname{conv}(x W)), \qquad
        q \leftarrow q / \lVert q \rVert, \quad k \leftarrow k / \lVert k \rVert, \qquad
        \beta = \sigma(x W_\beta), \qquad \alpha = \exp(-e^{A_{log}} \operatorname{softplus}(x W_\alpha + b))

    .. math::
        S_t = \alpha_t (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top, \qquad
        y_t = (\operatorname{RMSNorm}(K^{-1/2} q_t S_t) \odot \operatorname{SiLU}(x_t W_G))\, W_O

    per head, alpha and beta too, with the norm over each head. Initialised as in the authors' code: e^A_log uniform up
    to 16, and b such that softplus(b) is log-uniform in [0.001, 0.1].

    Args:
        dim: width D.
        num_heads: heads H; a divisor of D, `default_heads(dim)` if None.
        head_dim: K; three quarters of D / H if None, as in the paper.
        expand: V / K.
        taps: length of the causal depthwise convolution.

    Raises:
        ConfigError: if the heads do not divide the width, or a size is less than one.

    Source: Yang et al., Gated Delta Networks: Improving Mamba2 with Delta Rule, arXiv 2412.06464.
    """

    name = "gated-deltanet"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int | None = None,
        head_dim: int | None = None,
        expand: int = 2,
        taps: int = 4,
        causal: bool = True,
    ) -> None:
        super().__init__(dim, causal=causal)
        self.num_heads, _ = check_heads(dim, num_heads)
        self.head_dim = max(3 * dim // (4 * self.num_heads), 1) if head_dim is None else head_dim
        if min(self.head_dim, expand, taps) < 1:
            raise ConfigError(f"expected head_dim, expand and taps >= 1, got {head_dim}, {expand} and {taps}")
        keys = self.num_heads * self.head_dim
        values = expand * keys
        self.sizes = (keys, keys, values)
        self.input = nn.Linear(dim, sum(self.sizes), bias=False)
        self.conv_weight = nn.Parameter(torch.empty(sum(self.sizes), taps).uniform_(-(taps**-0.5), taps**-0.5))
        self.beta = nn.Linear(dim, self.num_heads, bias=False)
        self.step = nn.Linear(dim, self.num_heads)
        self.A_log = nn.Parameter(torch.empty(self.num_heads).uniform_(*_RATE_RANGE).log())
        self.gate = nn.Linear(dim, values, bias=False)
        self.norm_weight = nn.Parameter(torch.ones(expand * self.head_dim))
        self.out = nn.Linear(values, dim, bias=False)
        for linear in (self.input, self.beta, self.step, self.gate, self.out):
            nn.init.xavier_uniform_(linear.weight, gain=2**-2.5)
        with torch.no_grad():
            self.step.bias.copy_(initial_steps(self.num_heads))

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DeltaNetState:
        channels, taps = self.conv_weight.shape
        inputs = self.conv_weight.new_zeros(batch, taps - 1, channels, device=device, dtype=dtype)
        shape = (batch, self.num_heads, self.head_dim, self.sizes[2] // self.num_heads)
        return DeltaNetState(inputs, inputs.new_zeros(shape, dtype=torch.promote_types(inputs.dtype, torch.float32)))

    def advance(self, x: Tensor, state: DeltaNetState, layout: Layout) -> tuple[Tensor, DeltaNetState]:
        u = self.input(x)  # (B, L, H (2 K + V))
        before = state.inputs.to(u)
        mixed, inputs = short_convolution(u, self.conv_weight, initial_state=before, activation="silu")
        q, k, v = map(self._heads, mixed.split(self.sizes, dim=-1))  # 2 x (B, L, H, K), (B, L, H, V)
        beta = self.beta(x).sigmoid()  # (B, L, H)
        log_decay = -self.A_log.exp() * F.softplus(self.step(x))
        if layout.mask is not None:
            padded = ~layout.mask[..., None]
            beta, log_decay = beta.masked_fill(padded, 0), log_decay.masked_fill(padded, 0)
            inputs = last_inputs(before, u, layout.mask)
        out, memory = delta_rule(unit_length(q), unit_length(k), v, beta, log_decay, initial_state=state.memory)
        y, _ = rms_norm(out, self.norm_weight, eps=_EPS)  # (B, L, H, V)
        y = y * F.silu(self._heads(self.gate(x)))
        return self.out(y.flatten(-2)), DeltaNetState(inputs, memory)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count projections and convolution exactly, and 7 operations per token and entry of the state.

        These are: decay 1, correct 4, read 2.
        """
        channels, values = sum(self.sizes), self.sizes[2]
        weights = self.dim * (channels + 2 * values + 2 * self.num_heads) + self.conv_weight.numel()
        vectors = 2 * self.num_heads + values // self.num_heads  # the rates and steps of the decay; the norm
        memory = values * self.head_dim
        return Cost(parameters=weights + vectors, flops=(2 * weights + 7 * memory) * prod(grid))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))
