"""Mamba: a selective state space in a gated block.

Shapes: B batch, L tokens, D width, E = 2 D inner width, N states per channel, R rank of the step size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.layout import Layout
from omniform.mixers.base import Cost, Mixer, State, Traits
from omniform.mixers.recurrence import initial_steps, last_inputs
from omniform_kernels.selective_scan import selective_scan
from omniform_kernels.short_convolution import short_convolution

__all__ = ["Mamba", "MambaState"]


@dataclass(frozen=True, eq=False)
class MambaState(State):
    """The last inputs of the convolution `(B, taps - 1, E)`, and the state space's state `(B, E, N)`."""

    inputs: Tensor
    hidden: Tensor


class Mamba(Mixer):
    r"""Scan a state space whose step size, input and output maps are functions of the token.

    .. math::
        (u, z) = x W_{in}, \qquad u \leftarrow \operatorname{SiLU}(\operatorname{conv}(u)), \qquad
        (\delta, B, C) = u W_x, \qquad \Delta = \operatorname{softplus}(\delta W_\Delta + b_\Delta)

    .. math::
        h_t = e^{\Delta_t A} h_{t-1} + \Delta_t B_t u_t, \qquad
        y_t = (C_t h_t + D u_t) \odot \operatorname{SiLU}(z_t), \qquad A = -e^{A_{log}}

    Initialised as in the paper: A_n = -n, D = 1, and b such that softplus(b) is log-uniform in [0.001, 0.1].

    Args:
        dim: width D.
        expand: inner width over D.
        num_states: N.
        taps: length of the causal depthwise convolution.
        step_rank: R; a sixteenth of D, rounded up, if None.

    Source: Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, arXiv 2312.00752.
    """

    name = "mamba"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(
        self,
        dim: int,
        *,
        expand: int = 2,
        num_states: int = 16,
        taps: int = 4,
        step_rank: int | None = None,
        causal: bool = True,
    ) -> None:
        super().__init__(dim, causal=causal)
        inner = expand * dim
        self.sizes = (step_rank or ceil(dim / 16), num_states, num_states)  # of delta, B and C
        self.input = nn.Linear(dim, 2 * inner, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(inner, taps).uniform_(-(taps**-0.5), taps**-0.5))
        self.conv_bias = nn.Parameter(torch.empty(inner).uniform_(-(taps**-0.5), taps**-0.5))
        self.select = nn.Linear(inner, sum(self.sizes), bias=False)
        self.step = nn.Linear(self.sizes[0], inner)
        self.A_log = nn.Parameter(torch.arange(1.0, num_states + 1).log().repeat(inner, 1))
        self.A_log._no_weight_decay = True  # pyright: ignore[reportAttributeAccessIssue]
        self.D = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, dim, bias=False)
        self._initialise_step()

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> MambaState:
        inner, taps = self.conv_weight.shape
        inputs = self.conv_weight.new_zeros(batch, taps - 1, inner, device=device, dtype=dtype)
        hidden = inputs.new_zeros(batch, *self.A_log.shape, dtype=torch.promote_types(inputs.dtype, torch.float32))
        return MambaState(inputs, hidden)

    def advance(self, x: Tensor, state: MambaState, layout: Layout) -> tuple[Tensor, MambaState]:
        u, z = self.input(x).chunk(2, dim=-1)  # 2 x (B, L, E)
        before = state.inputs.to(u)
        v, inputs = short_convolution(u, self.conv_weight, self.conv_bias, initial_state=before, activation="silu")
        delta, B, C = self.select(v).split(self.sizes, dim=-1)  # (B, L, R), 2 x (B, L, N)
        dt = F.softplus(self.step(delta))  # (B, L, E)
        if layout.mask is not None:
            dt = dt.masked_fill(~layout.mask[..., None], 0)
            inputs = last_inputs(before, u, layout.mask)
        y, hidden = selective_scan(v, dt, -self.A_log.exp(), B, C, self.D, gate=z, initial_state=state.hidden)
        return self.out(y), MambaState(inputs, hidden)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Count projections and convolution exactly, and 6 operations per token and entry of the state.

        These are: exponent 1, decay 1, write 2, read 2.
        """
        (inner, taps), num_states = self.conv_weight.shape, self.sizes[1]
        weights = inner * (3 * self.dim + sum(self.sizes) + self.sizes[0] + taps)
        vectors = inner * (num_states + 3)  # A; the skip and the biases of convolution and step
        return Cost(parameters=weights + vectors, flops=(2 * weights + 6 * inner * num_states) * prod(grid))

    @torch.no_grad()
    def _initialise_step(self) -> None:
        self.step.bias.copy_(initial_steps(len(self.step.bias)))
        bound = self.sizes[0] ** -0.5
        self.step.weight.uniform_(-bound, bound)
