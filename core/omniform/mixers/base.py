"""The contract of a token mixer.

Shapes: B batch, L tokens, D width, `*grid` one or more token axes.

A mixer writes `mix` for whole tensors, or, if it carries a state, `advance` for a chunk that follows a state. The
public `forward` and `extend` bring packed, left-padded and ragged input into the one form that these two see
(right-padded or unpadded), so that every mixer treats them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import gcd
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from omniform.errors import IncompatibleError
from omniform.layout import AxisKind, Layout, compact, expand, pack, unpack

__all__ = ["Cost", "CrossMixer", "Mixer", "MixerFactory", "State", "Traits", "default_heads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a mixer can do; the contract test of `omniform.testing` verifies every field.

    Attributes:
        ranks: grid ranks that it mixes natively.
        axes: kinds of axes that it honours. A mixer that lists `"set"` is permutation-equivariant over such an axis;
            one that lists `"circular"` is shift-equivariant over it.
        causal: whether token `i` may be kept from seeing tokens behind `i`.
        stateful: when causal, it has `init_state` and `extend`.
        padding: `"native"` reads a mask; `"alone"` is run on each sequence by itself (right, but a loop; rank 1 only);
            `"refused"`.
        global_tokens: leading global tokens see, and are seen by, all tokens.
        fixed_grid: its parameters fix the grid, which the constructor is given and keeps as `grid`.
        cost: growth of multiply-adds and saved bytes with the number of tokens; `"subquadratic"` is between
            loglinear and quadratic, as axial attention's L^1.5.
        compiles: `torch.compile` takes it without a graph break (unpacked input).
    """

    ranks: tuple[int, ...] = (1,)
    axes: tuple[AxisKind, ...] = ("ordered",)
    causal: Literal["never", "optional", "always"] = "never"
    stateful: bool = False
    padding: Literal["native", "alone", "refused"] = "native"
    global_tokens: bool = False
    fixed_grid: bool = False
    cost: Literal["linear", "loglinear", "subquadratic", "quadratic"] = "quadratic"
    compiles: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a module costs by formula: trainable parameters, and floating-point operations (a multiply-add is two)."""

    parameters: int
    flops: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(parameters=self.parameters + other.parameters, flops=self.flops + other.flops)


@dataclass(frozen=True, eq=False)
class State:
    """What a causal mixer remembers. Immutable: an old state stays usable after `extend`.

    Subclasses are frozen dataclasses whose fields are tensors with the batch as first axis, states, tuples of states,
    or `None`.
    """

    def select(self, index: Tensor) -> Self:
        """Return the state of the sequences `index` (K,), which may repeat: beams, speculative roll-back."""
        return replace(self, **{f.name: _select(getattr(self, f.name), index) for f in fields(self)})


def _select(value: Any, index: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value.index_select(0, index)
    if isinstance(value, State):
        return value.select(index)
    if isinstance(value, tuple):
        return tuple(_select(item, index) for item in value)
    return value


class Mixer(nn.Module):
    """Mix tokens: `(B, *grid, D) -> (B, *grid, D)`.

    Args:
        dim: width D of the tokens.
        causal: keep token `i` from seeing tokens behind it; rank 1.

    Raises:
        IncompatibleError: when built or called for what `traits` rule out.
    """

    traits: Traits
    name: ClassVar[str]  # the zoo's id
    grid: tuple[int, ...] | None = None  # set by a mixer whose parameters fix it

    def __init__(self, dim: int, *, causal: bool = False) -> None:
        super().__init__()
        if causal and self.traits.causal == "never":
            raise IncompatibleError(f"{self.name} has no causal form; choose a mixer with one (omniform zoo)")
        self.dim = dim
        self.causal = causal or self.traits.causal == "always"

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        """Build the mixer with its default options for tokens that lie so.

        A subclass overrides this where its constructor wants the rank, the grid or the kinds of axes.
        """
        return cls(dim, causal=causal)

    @property
    def needs_order(self) -> bool:
        """Whether the place of a token in the sequence matters to this instance."""
        return "set" not in self.traits.axes or self.causal

    def describe(self) -> str:
        """Say in a few words what this is, for comparisons and reports."""
        return f"{self.name}, causal" if self.causal else self.name

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Mix `x` (B, *grid, D) laid out as `layout` says; values at padded places are zero or unspecified."""
        self.check(x, layout)
        if layout.offsets is not None:
            return self._forward_packed(x, layout, layout.offsets)
        if layout.mask is None or layout.rank > 1:
            return self.mix(x, layout)
        if self.traits.padding == "alone":
            return self._forward_alone(x, layout.mask, layout)
        if not self.needs_order:
            return self.mix(x, layout)
        x, mask, order = compact(x, layout.mask)
        coords = None
        if layout.coords is not None:
            coords = compact(layout.coords.expand(x.shape[0], -1, -1), layout.mask)[0]
        return expand(self.mix(x, replace(layout, mask=mask, coords=coords)), mask, order)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        """Mix unpacked tokens; a mask of rank 1 is right-padded, unless the mixer needs no order."""
        return self.advance(x, self.init_state(x.shape[0], device=x.device, dtype=x.dtype), layout)[0]

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the state before the first token."""
        raise self._refuse("a recurrent state")

    def extend(self, x: Tensor, state: State, layout: Layout | None = None) -> tuple[Tensor, State]:
        """Continue from `state` with a chunk `(B, n, D)` of any length (a step is `n = 1`).

        Over any partition of a sequence this equals `forward`. `layout` may carry a mask: masked tokens leave the state
        as it was, so that ragged chunks are allowed.
        """
        layout = Layout.of(x) if layout is None else layout
        self.check(x, layout)
        if not (self.traits.stateful and self.causal):
            raise self._refuse("a recurrent state")
        if layout.offsets is not None:
            raise self._refuse("a packed chunk", "padded ones; unpack it")
        if x.shape[1] == 0:
            return x, state
        if layout.mask is None:
            return self.advance(x, state, layout)
        coords = None
        if layout.coords is not None:
            coords = compact(layout.coords.expand(x.shape[0], -1, -1), layout.mask)[0]
        x, mask, order = compact(x, layout.mask)
        y, state = self.advance(x, state, replace(layout, mask=mask, coords=coords))
        return expand(y, mask, order), state

    def advance(self, x: Tensor, state: Any, layout: Layout) -> tuple[Tensor, State]:
        """Mix a right-padded or unpadded chunk `(B, n, D)` that follows `state`."""
        raise NotImplementedError(f"{type(self).__name__} defines neither mix nor advance")

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Return the cost of one sample of this grid, by formula."""
        raise NotImplementedError

    def check(self, x: Tensor, layout: Layout) -> None:
        """Raise one clear line if the traits rule this input out."""
        layout.check(x)
        traits = self.traits
        if x.shape[-1] != self.dim:
            raise IncompatibleError(f"{self.name} was built for width {self.dim}, got tokens of {tuple(x.shape)}")
        if traits.fixed_grid and layout.grid != self.grid:
            raise IncompatibleError(f"{self.name} was built for the grid {self.grid}, got {layout.grid}; rebuild it")
        if layout.rank not in traits.ranks:
            raise self._refuse(f"a grid of rank {layout.rank}", f"ranks {traits.ranks}; lift it with adapt(...)")
        for kind in set(layout.axes) - set(traits.axes):
            raise self._refuse(f"a {kind} axis", f"{', '.join(traits.axes)} axes; lift it with adapt(...)")
        if self.causal and layout.rank > 1:
            raise self._refuse("a causal grid", "causality in rank 1; flatten the grid with Scan")
        if layout.num_global and not traits.global_tokens:
            raise self._refuse("global tokens", "none; drop them, or choose attention without causality")
        padded = layout.mask is not None or layout.offsets is not None
        if padded and (traits.padding == "refused" or (traits.padding == "alone" and layout.rank > 1)):
            raise self._refuse("padding", "full grids; crop the input or choose another mixer")

    def _refuse(self, got: str, takes: str | None = None) -> IncompatibleError:
        return IncompatibleError(f"{self.name} cannot take {got}" + (f": it takes {takes}" if takes else ""))

    def _forward_packed(self, x: Tensor, layout: Layout, offsets: Tensor) -> Tensor:
        padded, mask = unpack(x, offsets)
        coords = None if layout.coords is None else unpack(layout.coords, offsets)[0]
        if self.traits.padding == "alone":
            return pack(self._forward_alone(padded, mask, Layout((mask.shape[1],), layout.axes, coords=coords)), mask)
        return pack(self.mix(padded, Layout((mask.shape[1],), layout.axes, mask=mask, coords=coords)), mask)

    def _forward_alone(self, x: Tensor, mask: Tensor, layout: Layout) -> Tensor:
        out = torch.zeros_like(x)
        for b, valid in enumerate(mask):
            alone = x[b : b + 1, valid]
            coords = None if layout.coords is None else layout.coords.expand(len(mask), -1, -1)[b : b + 1, valid]
            if alone.shape[1]:
                mixed = self.mix(alone, Layout((alone.shape[1],), layout.axes, coords=coords))
                out = out.index_put((torch.tensor(b, device=x.device), valid.nonzero()[:, 0]), mixed[0].to(out.dtype))
        return out


MixerFactory = Callable[[int], Mixer]
"""Makes a mixer for a width; what layers and `Scan` take, so that mixers are injected rather than named."""


class CrossMixer(nn.Module):
    """Mix tokens with a context: `(B, *grid, D), (B, *context_grid, Dc) -> (B, *grid, D)`."""

    def __init__(self, dim: int, context_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.context_dim = context_dim

    def forward(self, x: Tensor, context: Tensor, layout: Layout, context_layout: Layout) -> Tensor:
        raise NotImplementedError


def default_heads(dim: int, head_dim: int = 16) -> int:
    """Return the largest number of heads, at most 8, of an even size of at least `head_dim` that divides `dim`.

    Widths from the parameter solver are not powers of two; a head size must be even for rotary embeddings.
    """
    fitting = [h for h in range(1, 9) if gcd(dim, h) == h and dim // h % 2 == 0 and dim // h >= head_dim]
    return max(fitting, default=1)
