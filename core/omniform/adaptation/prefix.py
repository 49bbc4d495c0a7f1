"""Trained start states: for attention keys and values of tokens that never were, for others what they remember.

Shapes: B batch, L tokens, D width, p prefix length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from omniform.backbones.sequence import Sequence
from omniform.errors import IncompatibleError
from omniform.layers import LayerState
from omniform.layout import Layout
from omniform.mixers.base import Cost, Mixer, State

__all__ = ["Prefixed", "add_prefix"]


class Prefixed(Mixer):
    r"""Start a causal mixer from a trained state instead of the empty one.

    .. math::
        y = \operatorname{extend}(x, s_0), \qquad s_0 \text{ trained}

    Of attention's state the keys and values `(1, K, p, d)` are trained, and tokens count from place p: prefix tuning
    without the perceptron that its authors train through. Of a mixer with a constant state all that it remembers is
    trained: its convolution's last inputs and its memory. Counters and masks stay as they are.

    Args:
        mixer: causal, with a state.
        state: of batch size 1, to begin with: that behind a prompt of p tokens, or `mixer.init_state(1)`, from which
            the outputs are those of `mixer`.

    Raises:
        IncompatibleError: if the mixer has no state.

    Source: Li & Liang, Prefix-Tuning, arXiv 2101.00190.
    """

    name = "prefix"

    def __init__(self, mixer: Mixer, state: State) -> None:
        if not (mixer.causal and mixer.traits.stateful):
            raise IncompatibleError(f"{mixer.name} has no state to train; choose another method, or a causal mixer")
        self.traits = replace(mixer.traits, ranks=(1,), global_tokens=False)
        super().__init__(mixer.dim, causal=True)
        self.grid = mixer.grid
        self.mixer = mixer
        begun = _floats(state)
        self.trained = tuple(begun)
        for name, value in begun.items():
            self.register_parameter(f"start_{name}", nn.Parameter(value.detach().clone()))
        self.around = state.select(next(iter(begun.values())).new_zeros(1, dtype=torch.int64))  # in memory of its own
        self.train(mixer.training)

    @property
    def start(self) -> dict[str, nn.Parameter]:
        """What is trained, by the name of its field in the state."""
        return {name: self.get_parameter(f"start_{name}") for name in self.trained}

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        empty = self.mixer.init_state(1, device=device, dtype=dtype)
        start = self.start
        trained = {name: start[name].to(like) for name, like in _floats(empty).items()}
        index = torch.zeros(batch, dtype=torch.int64, device=next(iter(trained.values())).device)
        return _filled(self.around, trained, index.device).select(index)

    def advance(self, x: Tensor, state: Any, layout: Layout) -> tuple[Tensor, State]:
        return self.mixer.advance(x, state, layout)

    def describe(self) -> str:
        return f"{self.mixer.describe()}, trained start"

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """The mixer's, and the parameters of the start; the operations on it are not counted."""
        return self.mixer.cost(grid) + Cost(parameters=sum(p.numel() for p in self.start.values()), flops=0)


def add_prefix(backbone: Sequence, state: LayerState) -> list[Prefixed]:
    """Let every mixer of a backbone start from a trained state, begun at `state` (of batch size 1).

    Raises:
        IncompatibleError: if a mixer has no state.
    """
    added = []
    for layer, parts in zip(backbone.layers, cast("tuple[LayerState, ...]", state.parts), strict=True):
        for branch, part in zip(layer.branches, parts.parts, strict=True):
            if part is not None:
                branch.op = Prefixed(cast("Mixer", branch.op), part)
                added.append(branch.op)
    return added


def _floats(state: State) -> dict[str, Tensor]:
    """Return the fields of a state, and of states within it, that are tensors of floating-point numbers."""
    found: dict[str, Tensor] = {}
    for field in fields(state):
        value = getattr(state, field.name)
        if isinstance(value, State):
            found |= _floats(value)
        elif isinstance(value, Tensor) and value.is_floating_point():
            found[field.name] = value
    return found


def _filled(value: Any, trained: Mapping[str, Tensor], device: torch.device) -> Any:
    """Return a state with these tensors in the fields of their names, all of it on one device."""
    if isinstance(value, State):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(
            value, **{n: trained[n] if n in trained else _filled(p, trained, device) for n, p in parts.items()}
        )
    if isinstance(value, tuple):
        return tuple(_filled(item, trained, device) for item in value)
    return value.to(device) if isinstance(value, Tensor) else value
