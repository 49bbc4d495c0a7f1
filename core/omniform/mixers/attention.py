"""Softmax attention: every token looks at every other, or at those before it.

Shapes: B batch, L tokens, D width, H heads, K key heads (H a multiple of K), d head width, R coordinate axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniform.errors import ConfigError, IncompatibleError
from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Cost, Mixer, State, Traits, default_heads
from omniform.positions import Alibi, AttentionBias, Rotary, token_positions
from omniform_kernels.decode_attention import decode_attention
from omniform_kernels.packed_attention import packed_attention

__all__ = ["Attention", "AttentionState", "check_heads"]


Places = tuple[Tensor, Tensor]
"""Positions `(B or 1, L, R)` of tokens, and whether they have one `(B or 1, L)`: global tokens have none."""


@dataclass(frozen=True, eq=False)
class AttentionState(State):
    """The keys and values so far.

    Attributes:
        keys, values: `(B, K, L, d)`; keys are rotated already.
        mask: `(B, L)` bool; chunks of unequal length leave gaps.
        counts: `(B,)` int64, how many valid tokens but global ones each sequence has had: where its next one stands.
        places: positions `(B, L, R)` of the keys, and whether they have any `(B, L)`; kept where a bias asks for them.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    counts: Tensor
    places: Places | None = None


class Attention(Mixer):
    r"""Mix tokens by softmax attention with H heads.

    .. math::
        y_i = W_o \sum_j \operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt d} + b_{ij}\right) v_j,
        \quad q = W_q x,\; k = W_k x,\; v = W_v x

    Grids are flattened. Without positions it is permutation-equivariant and takes axes of every kind; a causal form, a
    rotation or a bias ties it to ordered axes. Global tokens get and give no bias; in a causal form all tokens see
    them, but they do not see ahead.

    Args:
        dim: width D.
        num_heads: H; `default_heads(dim)` if None.
        num_kv_heads: K, each key head serving H / K query heads; H if None.
        causal: keep token i from seeing tokens behind it.
        rotary: rotates queries and keys by their positions.
        bias: is added to the scores.

    Raises:
        ConfigError: if the heads do not divide the width, or each other.

    Source: Vaswani et al., arXiv 1706.03762 (no biases in projections; Xavier initialisation); grouped queries, Ainslie
    et al., arXiv 2305.13245.
    """

    name = "attention"
    traits = Traits(
        ranks=(1, 2, 3),
        axes=("ordered", "set", "circular"),
        causal="optional",
        stateful=True,
        padding="native",
        global_tokens=True,
        cost="quadratic",
    )

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int | None = None,
        num_kv_heads: int | None = None,
        causal: bool = False,
        rotary: Rotary | None = None,
        bias: AttentionBias | None = None,
    ) -> None:
        super().__init__(dim, causal=causal)
        self.num_heads, self.num_kv_heads = check_heads(dim, num_heads, num_kv_heads)
        self.head_dim = dim // self.num_heads
        if bias is not None and bias.num_heads != self.num_heads:
            raise ConfigError(f"expected a bias for {self.num_heads} heads, got one for {bias.num_heads}")
        if causal or rotary is not None or bias is not None:
            self.traits = replace(self.traits, axes=("ordered",))
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, self.num_kv_heads * self.head_dim, bias=False)
        self.value = nn.Linear(dim, self.num_kv_heads * self.head_dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.rotary = rotary
        self.bias = bias
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Self:
        """Build it with rotary positions if every axis is ordered, with none otherwise: a set must stay one."""
        return cls(dim, causal=causal, rotary=Rotary() if set(axes) == {"ordered"} else None)

    def describe(self) -> str:
        parts = [super().describe()]
        if self.num_kv_heads != self.num_heads:
            parts.append(f"{self.num_heads} heads on {self.num_kv_heads} of keys")
        parts += [type(part).__name__.lower() for part in (self.rotary, self.bias) if part is not None]
        return ", ".join(parts)

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        mask = None if layout.mask is None else layout.mask.flatten(1)
        x = _clean(x.flatten(1, -2), mask)  # (B, L, D)
        places = _places(x, layout)
        q, k, v = self._project(x, places)
        bias = self._score_bias(places, places, q.dtype)
        if self.causal and bias is None:  # what is padded lies behind, out of sight
            y = self._attend(q, k, v, is_causal=True)
        else:
            y = self._attend(q, k, v, _merge(self._visible(x, mask), bias))
        return y.unflatten(1, layout.grid)  # (B, *grid, D)

    def init_state(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> AttentionState:
        weight = self.key.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        empty = torch.zeros(batch, self.num_kv_heads, 0, self.head_dim, device=device, dtype=dtype)
        return AttentionState(
            keys=empty,
            values=empty,
            mask=torch.zeros(batch, 0, dtype=torch.bool, device=device),
            counts=torch.zeros(batch, dtype=torch.int64, device=device),
        )

    def advance(self, x: Tensor, state: Any, layout: Layout) -> tuple[Tensor, AttentionState]:
        """Attend from a chunk (B, n, D) to the state's keys and its own."""
        batch, n, _ = x.shape
        places = _places_after(x, state, layout)
        q, k, v = self._project(x, places)
        valid = layout.valid(batch, x.device)
        after = AttentionState(
            keys=torch.cat([state.keys, k], dim=2),
            values=torch.cat([state.values, v], dim=2),
            mask=torch.cat([state.mask, valid], dim=1),
            counts=state.counts + valid[:, layout.num_global :].sum(1),
            places=None if self.bias is None else _append(state.places, places, batch),
        )
        if n == 1 and self.bias is None and (x.is_cuda or self.num_kv_heads < self.num_heads):
            return self._decode(q, after, state.mask), after  # on a CPU faster by the keys that it does not repeat
        before = state.mask[:, None].expand(-1, n, -1)
        own = torch.ones(n, n, dtype=torch.bool, device=x.device).tril().expand(batch, -1, -1)
        visible = torch.cat([before, own], dim=2)[:, None]  # (B, 1, n, L + n)
        bias = None if after.places is None else self._score_bias(places, after.places, q.dtype)
        return self._attend(q, after.keys, after.values, _merge(visible, bias)), after

    def weights(self, x: Tensor, layout: Layout) -> Tensor:
        """Return the weights `(B, H, L, L)` that `forward` gives, queries before keys, zero where either is padded."""
        self.check(x, layout)
        if layout.offsets is not None:
            raise IncompatibleError("weights of packed sequences are not one square matrix: unpack them first")
        valid = layout.valid(x.shape[0], x.device).flatten(1)
        x = _clean(x.flatten(1, -2), valid)
        places = _places(x, layout)
        q, k, _ = self._project(x, places)
        scores = q @ k.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1).mT * self.head_dim**-0.5
        visible = _merge(self._visible(x, valid), self._score_bias(places, places, q.dtype))
        assert visible is not None
        scores = scores.masked_fill(~visible, -torch.inf) if visible.dtype == torch.bool else scores + visible
        return scores.softmax(-1) * valid[:, None, :, None]

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Projections 2 L (2 D^2 + 2 D K d), scores and sums 4 L^2 D; a causal form computes both halves."""
        length = prod(grid)
        projections = 2 * self.dim * (self.dim + self.num_kv_heads * self.head_dim)
        bias = 0 if self.bias is None else sum(p.numel() for p in self.bias.parameters())
        return Cost(parameters=projections + bias, flops=2 * length * projections + 4 * length**2 * self.dim)

    def _project(self, x: Tensor, places: Places) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries `(B, H, L, d)`, keys and values `(B, K, L, d)`."""
        linears = (self.query, self.key, self.value)
        q, k, v = (linear(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for linear in linears)
        return (q, k, v) if self.rotary is None else (self.rotary(q, places[0]), self.rotary(k, places[0]), v)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, is_causal: bool = False
    ) -> Tensor:
        grouped = self.num_kv_heads != self.num_heads
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, enable_gqa=grouped)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, Lq, D)

    def _decode(self, q: Tensor, state: AttentionState, before: Tensor) -> Tensor:
        """Attend from one token (B, H, 1, d), which sees itself, valid or not, to the state's keys."""
        visible = torch.cat([before, before.new_ones(len(before), 1)], dim=1)  # (B, L + 1)
        y = decode_attention(q[:, :, 0], state.keys.transpose(1, 2), state.values.transpose(1, 2), mask=visible)
        return self.out(y.flatten(1))[:, None]  # (B, 1, D)

    def _forward_packed(self, x: Tensor, layout: Layout, offsets: Tensor) -> Tensor:
        """Attend within each sequence where it lies: nothing is padded."""
        places = _places(x, layout)
        q, k, v = (part[0].transpose(0, 1) for part in self._project(x, places))  # (T, H or K, d)
        slopes, bias = None, None
        if isinstance(self.bias, Alibi) and layout.coords is None:
            slopes = self.bias.slopes
        elif self.bias is not None:
            bias = partial(_packed_bias, self.bias, places[0][0])
        y = packed_attention(q, k, v, offsets, causal=self.causal, slopes=slopes, bias=bias)
        return self.out(y.flatten(1))[None]  # (1, T, D)

    def _score_bias(self, queries: Places, keys: Places, dtype: torch.dtype) -> Tensor | None:
        if self.bias is None:
            return None
        both_placed = queries[1][:, None, :, None] & keys[1][:, None, None]
        return self.bias(queries[0], keys[0]).masked_fill(~both_placed, 0).to(dtype)  # (B or 1, H, Lq, Lk)

    def _visible(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        """Return which keys a query may see, `(B or 1, 1, L or 1, L)`; never none, so that a softmax is defined."""
        visible = None
        if self.causal:
            visible = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()[None, None]
        if mask is not None:
            valid = mask[:, None, None]
            visible = valid if visible is None else visible & valid
            visible = visible | ~visible.any(-1, keepdim=True)
        return visible


def check_heads(dim: int, num_heads: int | None, num_kv_heads: int | None = None) -> tuple[int, int]:
    """Return the numbers of query and key heads, filled in where None.

    Raises:
        ConfigError: if they do not divide the width, or each other.
    """
    num_heads = default_heads(dim) if num_heads is None else num_heads
    num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    if num_heads < 1 or dim % num_heads:
        raise ConfigError(f"expected num_heads to divide the width {dim}, got {num_heads}")
    if num_kv_heads < 1 or num_heads % num_kv_heads:
        raise ConfigError(f"expected num_kv_heads to divide the {num_heads} heads, got {num_kv_heads}")
    return num_heads, num_kv_heads


def _packed_bias(bias: AttentionBias, positions: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """Return biases `(H, m, n)` between tokens of these indices, which stand at `positions` (T, R)."""
    return bias(positions[None, queries], positions[None, keys])[0]


def _places(x: Tensor, layout: Layout) -> Places:
    placed = torch.arange(layout.num_tokens, device=x.device) >= layout.num_global
    return token_positions(layout, x).flatten(1, -2), placed[None]


def _places_after(x: Tensor, state: AttentionState, layout: Layout) -> Places:
    """Return the places of a chunk: right padding stands behind, and a chunk goes on where the state stopped."""
    positions, placed = _places(x, replace(layout, mask=None))
    return (positions if layout.coords is not None else positions + state.counts[:, None, None]), placed


def _append(before: Places | None, places: Places, batch: int) -> Places:
    positions, placed = (part.expand(batch, *part.shape[1:]) for part in places)
    if before is None:
        return positions, placed
    return torch.cat([before[0], positions], dim=1), torch.cat([before[1], placed], dim=1)


def _clean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero what is padded: a weight of zero does not tame an infinite value."""
    return x if mask is None else x.masked_fill(~mask[..., None], 0)


def _merge(visible: Tensor | None, bias: Tensor | None) -> Tensor | None:
    if bias is None or visible is None:
        return visible if bias is None else bias
    return bias.masked_fill(~visible, -torch.inf)
