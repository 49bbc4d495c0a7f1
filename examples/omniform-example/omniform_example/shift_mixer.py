"""A token mixer without a product between tokens: groups of channels look one, two, ... tokens back.

Shapes: B batch, n tokens of a chunk, D width, R reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from omniform.layout import Layout
from omniform.mixers.base import Cost, Mixer, State, Traits

__all__ = ["ShiftMixer", "ShiftState"]


@dataclass(frozen=True, eq=False)
class ShiftState(State):
    """The last R tokens `(B, R, D)`, zeros where there were none."""

    past: Tensor


class ShiftMixer(Mixer):
    """Shift group g of R + 1 channel groups by g tokens, between two linear maps.

    `y_t = B concat_g (A x)_{t - g, g}`: a one-way, one-dimensional form of the spatial shift of S2-MLP (arXiv
    2106.07477). Where R + 1 does not divide D, the first groups are one channel wider.

    Args:
        dim: width D.
        reach: R, how many tokens back the last group looks.
    """

    name = "shift-mixer"
    traits = Traits(causal="always", stateful=True, cost="linear")

    def __init__(self, dim: int, *, reach: int = 3, causal: bool = True) -> None:
        super().__init__(dim, causal=causal)
        self.reach = reach
        self.inward = nn.Linear(dim, dim)
        self.outward = nn.Linear(dim, dim)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ShiftState:
        return ShiftState(self.inward.weight.new_zeros(batch, self.reach, self.dim, device=device, dtype=dtype))

    def advance(self, x: Tensor, state: ShiftState, layout: Layout) -> tuple[Tensor, ShiftState]:
        length = x.shape[1]
        inner = self.inward(x)
        line = torch.cat([state.past.to(inner), inner], dim=1)  # (B, R + n, D)
        groups = line.tensor_split(self.reach + 1, dim=-1)
        shifted = [part[:, self.reach - g : self.reach - g + length] for g, part in enumerate(groups)]
        return self.outward(torch.cat(shifted, dim=-1)), ShiftState(self._last(line, layout))

    def cost(self, grid: tuple[int, ...]) -> Cost:
        weights = 2 * self.dim**2
        return Cost(parameters=weights + 2 * self.dim, flops=2 * weights * prod(grid))

    def _last(self, line: Tensor, layout: Layout) -> Tensor:
        """Return the R tokens that end with each sequence's last valid one."""
        if layout.mask is None:
            return line[:, line.shape[1] - self.reach :]
        steps = torch.arange(self.reach, device=line.device)
        index = layout.mask.sum(dim=1, keepdim=True) + steps  # (B, R)
        return line.gather(1, index[..., None].expand(-1, -1, self.dim))
