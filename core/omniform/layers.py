"""A layer: residual branches of norm, operation and modulation.

Shapes: B batch, `*grid` token axes, D width, C width of the conditioning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from omniform.channel.base import Aux, ChannelMixer
from omniform.errors import IncompatibleError
from omniform.layout import Layout
from omniform.mixers.base import Cost, CrossMixer, Mixer, State

__all__ = ["Branch", "Context", "Layer", "LayerFactory", "LayerState", "Modulation", "add_aux"]


@dataclass(frozen=True, slots=True)
class Context:
    """Tokens of another sequence, for cross mixers."""

    tokens: Tensor
    layout: Layout


class Modulation(nn.Module):
    """Map a condition `(B, C)` or `(B, *grid, C)` to shift, scale and gate of width D (adaLN-Zero, arXiv 2212.09748).

    The last map starts at zero, so that a fresh layer is the identity.
    """

    def __init__(self, cond_dim: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(cond_dim, 3 * dim)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, cond: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return shift, scale, gate, each broadcastable to `(B, *grid, D)`."""
        out = self.project(nn.functional.silu(cond))
        if cond.ndim == 2:
            out = out.reshape(out.shape[0], *(1,) * rank, -1)
        shift, scale, gate = out.chunk(3, dim=-1)
        return shift, scale, gate


class Branch(nn.Module):
    """One residual branch: `x + dropout(gate * op(norm(x) * (1 + scale) + shift))`, or post-norm `norm(x + ...)`.

    Args:
        op: a `Mixer`, a `CrossMixer` or a `ChannelMixer`.
        norm: the norm before it; `None` for operations that bring their own.
        modulation: makes shift, scale and gate from the layer's condition.
        post_norm: normalise the sum instead of the operation's input, as the original Transformer did.
    """

    def __init__(
        self,
        op: Mixer | CrossMixer | ChannelMixer,
        norm: nn.Module | None = None,
        *,
        modulation: Modulation | None = None,
        dropout: float = 0.0,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.op = op
        self.norm = nn.Identity() if norm is None else norm
        self.modulation = modulation
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, layout: Layout, cond: Tensor | None, context: Context | None, state: State | None
    ) -> tuple[Tensor, Aux, State | None]:
        """Return the new tokens, auxiliary losses, and the state behind them if one came in."""
        inner = x if self.post_norm else self.norm(x)
        gate: Tensor | None = None
        if self.modulation is not None:
            if cond is None:
                raise IncompatibleError("this layer is modulated: expected cond=..., got none")
            shift, scale, gate = self.modulation(cond, layout.rank)
            inner = inner * (1 + scale) + shift
        y, aux, state = self._run(inner, layout, context, state)
        x = x + self.dropout(y if gate is None else gate * y)
        return self.norm(x) if self.post_norm else x, aux, state

    def _run(
        self, x: Tensor, layout: Layout, context: Context | None, state: State | None
    ) -> tuple[Tensor, Aux, State | None]:
        if isinstance(self.op, Mixer) and state is not None:
            y, state = self.op.extend(x, state, layout)
            return y, {}, state
        if isinstance(self.op, CrossMixer):
            if context is None:
                raise IncompatibleError("this layer attends to a context: expected context=Context(...), got none")
            return self.op(x, context.tokens, layout, context.layout), {}, None
        if isinstance(self.op, ChannelMixer):
            y, aux = self.op.forward_with_aux(x, layout)
            return y, aux, None
        return self.op(x, layout), {}, None


@dataclass(frozen=True, eq=False)
class LayerState(State):
    """The states of a layer's branches, or of a backbone's layers; `None` where there is nothing to remember."""

    parts: tuple[State | None, ...]


class Layer(nn.Module):
    """Residual branches, one after another, or side by side: `x + sum_i (branch_i(x) - x)` (GPT-J, GPT-NeoX).

    `forward(x, layout)` is the plain call; `forward_with_aux` also returns auxiliary losses; `init_state` and `extend`
    run a causal layer chunk by chunk.
    """

    def __init__(self, *branches: Branch, parallel: bool = False) -> None:
        super().__init__()
        self.branches = cast("list[Branch]", nn.ModuleList(branches))
        self.parallel = parallel

    def forward(
        self, x: Tensor, layout: Layout, *, cond: Tensor | None = None, context: Context | None = None
    ) -> Tensor:
        return self.forward_with_aux(x, layout, cond=cond, context=context)[0]

    def forward_with_aux(
        self, x: Tensor, layout: Layout, *, cond: Tensor | None = None, context: Context | None = None
    ) -> tuple[Tensor, Aux]:
        total: Aux = {}
        start = x
        for branch in self.branches:
            y, aux, _ = branch(start if self.parallel else x, layout, cond, context, None)
            x = x + (y - start) if self.parallel else y
            total = add_aux(total, aux)
        return x, total

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LayerState:
        """Return the state before the first token, one part per mixer branch."""
        ops = [branch.op for branch in self.branches]
        return LayerState(
            tuple(op.init_state(batch, device=device, dtype=dtype) if isinstance(op, Mixer) else None for op in ops)
        )

    def extend(
        self,
        x: Tensor,
        state: LayerState,
        layout: Layout | None = None,
        *,
        cond: Tensor | None = None,
        context: Context | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Continue from `state` with a chunk `(B, n, D)`."""
        layout = Layout.of(x) if layout is None else layout
        parts = []
        start = x
        for branch, part in zip(self.branches, state.parts, strict=True):
            y, _, part = branch(start if self.parallel else x, layout, cond, context, part)
            x = x + (y - start) if self.parallel else y
            parts.append(part)
        return x, LayerState(tuple(parts))

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Return the cost of one sample by formula; norms and modulations count as parameters only."""
        total = Cost(parameters=0, flops=0)
        for branch in self.branches:
            if isinstance(branch.op, CrossMixer):
                raise IncompatibleError("the cost of a cross mixer depends on its context; count it on its own")
            around = sum(p.numel() for p in branch.parameters()) - sum(p.numel() for p in branch.op.parameters())
            total = total + branch.op.cost(grid) + Cost(parameters=around, flops=0)
        return total


LayerFactory = Callable[[int, int], Layer]
"""Makes layer `index` of width `dim`: hybrids and sandwich layouts need no backbone of their own."""


def add_aux(a: Aux, b: Aux) -> Aux:
    """Return the sum of two sets of auxiliary losses, name by name."""
    return {**a, **{name: a[name] + loss if name in a else loss for name, loss in b.items()}}
