"""Layers at one resolution: encoders, decoders, language models."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from omniform.backbones.features import Features
from omniform.channel.base import Aux
from omniform.layers import Context, Layer, LayerFactory, LayerState, add_aux
from omniform.layout import Layout
from omniform.mixers.base import Cost

__all__ = ["Sequence"]


class Sequence(nn.Module):
    """Run `depth` layers of width `dim` and a final norm over tokens `(B, *grid, D)` of any layout."""

    def __init__(self, make_layer: LayerFactory, *, dim: int, depth: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = cast("list[Layer]", nn.ModuleList(make_layer(index, dim) for index in range(depth)))
        self.norm = nn.LayerNorm(dim) if norm is None else norm

    def forward(
        self, x: Tensor, layout: Layout, *, cond: Tensor | None = None, context: Context | None = None
    ) -> Features:
        aux: Aux = {}
        for layer in self.layers:
            x, more = layer.forward_with_aux(x, layout, cond=cond, context=context)
            aux = add_aux(aux, more)
        return Features((self.norm(x),), (layout,), aux)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LayerState:
        """Return the state before the first token; every mixer must be causal and stateful."""
        states = [layer.init_state(batch, device=device, dtype=dtype) for layer in self.layers]
        return LayerState(tuple(states))

    def extend(
        self,
        x: Tensor,
        state: LayerState,
        layout: Layout | None = None,
        *,
        cond: Tensor | None = None,
        context: Context | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Continue from `state` with a chunk `(B, n, D)`; over any partition this equals `forward`."""
        parts = []
        for layer, part in zip(self.layers, cast("tuple[LayerState, ...]", state.parts), strict=True):
            x, part = layer.extend(x, part, layout, cond=cond, context=context)
            parts.append(part)
        return self.norm(x), LayerState(tuple(parts))

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Return the cost of one sample of this grid, by formula."""
        total = Cost(parameters=sum(p.numel() for p in self.norm.parameters()), flops=0)
        for layer in self.layers:
            total = total + layer.cost(grid)
        return total
