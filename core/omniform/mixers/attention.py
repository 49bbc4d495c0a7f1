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
from omniform.mixers.key_value_cache import KeyValueCache
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
        cache: keys, rotated already, and values.
        counts: `(B,)` int64, how many valid tokens but global ones each sequence has had: where its next one stands.
        mask: `(B, L)` bool; chunks of unequal length leave gaps. `None` where no chunk came with a mask.
        places: positions `(B, L, R)` of the keys, and whether they have any `(B, L)`; kept where a bias asks for them.
        forgot: whether keys that no later token sees have been let go.
    """

    cache: KeyValueCache
    counts: Tensor
    mask: Tensor | None = None
    places: Places | None = None
    forgot: bool = False

    @property
    def length(self) -> int:
        """L."""
        return self.cache.length

    def rewind(self, n: int) -> AttentionState | None:
        """Return the state n tokens ago, without a copy; `None` where it is not known any more, or which they were."""
        if self.forgot or self.mask is not None:
            return None
        return replace(self._keep(0, self.length - n), counts=self.counts - n)

    def forget(self, n: int) -> AttentionState:
        """Return the state with its last n keys alone; all stay where a mask makes sequences differ."""
        if self.length <= n or self.mask is not None:
            return self
        return replace(self._keep(self.length - n, self.length), forgot=True)

    def _keep(self, start: int, stop: int) -> AttentionState:
        places = self.places
        if places is not None:
            places = (places[0][:, start:stop], places[1][:, start:stop])
        return replace(self, cache=self.cache.keep(start, stop), places=places)


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
        head_dim: d; D / H if None.
        causal: keep token i from seeing tokens behind it.
        window: how many tokens a query sees, itself the last of them; causal only, without global tokens; None for all.
        qkv_bias, out_bias: whether the projections have biases.
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
        head_dim: int | None = None,
        causal: bool = False,
        window: int | None = None,
        rotary: Rotary | None = None,
        bias: AttentionBias | None = None,
        qkv_bias: bool = False,
        out_bias: bool = False,
    ) -> None:
        super().__init__(dim, causal=causal)
        self.num_heads, self.num_kv_heads = check_heads(dim, num_heads, num_kv_heads, head_dim)
        self.head_dim = dim // self.num_heads if head_dim is None else head_dim
        self.window = window
        if window is not None and (window < 1 or not causal):
            raise ConfigError(f"expected a window of at least 1 token in causal attention, got {window}")
        if bias is not None and bias.num_heads != self.num_heads:
            raise ConfigError(f"expected a bias for {self.num_heads} heads, got one for {bias.num_heads}")
        if causal or rotary is not None or bias is not None:
            self.traits = replace(self.traits, axes=("ordered",), global_tokens=window is None)
        inner, shared = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.query = nn.Linear(dim, inner, bias=qkv_bias)
        self.key = nn.Linear(dim, shared, bias=qkv_bias)
        self.value = nn.Linear(dim, shared, bias=qkv_bias)
        self.out = nn.Linear(inner, dim, bias=out_bias)
        self.rotary = rotary
        self.bias = bias
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

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
        if self.causal and bias is None and self.window is None:  # what is padded lies behind, out of sight
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
        return AttentionState(KeyValueCache(empty, empty), torch.zeros(batch, dtype=torch.int64, device=device))

    def advance(self, x: Tensor, state: Any, layout: Layout) -> tuple[Tensor, AttentionState]:
        """Attend from a chunk (B, n, D) to the state's keys and its own."""
        places = _places_after(x, state, layout)
        q, k, v = self._project(x, places)
        after = self._append(state, k, v, places, layout)
        y = self._attend_after(q, state, after, places)
        return y, after if self.window is None else after.forget(self.window - 1)

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
        inner = self.num_heads * self.head_dim
        projections = 2 * self.dim * (inner + self.num_kv_heads * self.head_dim)
        biases = sum(p.numel() for name, p in self.named_parameters() if name.endswith("bias") or "bias." in name)
        return Cost(parameters=projections + biases, flops=2 * length * projections + 4 * length**2 * inner)

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

    def _append(self, state: AttentionState, k: Tensor, v: Tensor, places: Places, layout: Layout) -> AttentionState:
        batch, _, n, _ = k.shape
        mask, new = state.mask, n - layout.num_global
        if mask is not None or layout.mask is not None:
            mask = k.new_ones(batch, state.length, dtype=torch.bool) if mask is None else mask
            mask = torch.cat([mask, layout.valid(batch, k.device)], dim=1)
        return replace(
            state,
            cache=state.cache.append(k, v),
            counts=state.counts + (new if layout.mask is None else layout.mask[:, layout.num_global :].sum(1)),
            mask=mask,
            places=None if self.bias is None else _append(state.places, places, batch),
        )

    def _attend_after(self, q: Tensor, state: AttentionState, after: AttentionState, places: Places) -> Tensor:
        """Attend from a chunk (B, H, n, d) to all keys behind `state`; its own padding lies behind, out of sight."""
        n, keys, values = q.shape[2], after.cache.keys, after.cache.values
        bias = None if after.places is None else self._score_bias(places, after.places, q.dtype)
        narrow = self.window is not None and after.length > self.window
        if bias is None and not narrow and not state.length:
            return self._attend(q, keys, values, is_causal=n > 1)
        visible = self._visible_after(state, after, n, narrow)
        if bias is None and n == 1 and (q.is_cuda or self.num_kv_heads < self.num_heads):
            return self._decode(q, keys, values, visible)  # on a CPU faster by the keys that it does not repeat
        return self._attend(q, keys, values, _merge(None if visible is None else visible[:, None], bias))

    def _visible_after(self, state: AttentionState, after: AttentionState, n: int, narrow: bool) -> Tensor | None:
        """Return which keys the last n tokens may see, `(B or 1, n, L + n)`; `None` for all."""
        if n == 1 and state.mask is None and not narrow:
            return None
        keys = after.cache.keys
        visible = torch.ones(n, after.length, dtype=torch.bool, device=keys.device).tril(state.length)[None]
        if state.mask is not None:
            visible = visible & F.pad(state.mask, (0, n), value=True)[:, None]
        if narrow:
            assert self.window is not None
            index = torch.arange(after.length, device=keys.device)[None] if after.mask is None else after.mask.cumsum(1)
            visible = visible & _within(index, n, self.window)
        return visible

    def _decode(self, q: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
        """Attend from one token (B, H, 1, d) to what is `visible` (B or 1, 1, L)."""
        mask = None if visible is None else visible[:, 0].expand(len(q), -1)
        y = decode_attention(q[:, :, 0], keys.transpose(1, 2), values.transpose(1, 2), mask=mask)
        return self.out(y.flatten(1))[:, None]  # (B, 1, D)

    def _forward_packed(self, x: Tensor, layout: Layout, offsets: Tensor) -> Tensor:
        """Attend within each sequence where it lies: nothing is padded."""
        if self.window is not None:
            return super()._forward_packed(x, layout, offsets)
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
            if self.window is not None:
                index = torch.arange(x.shape[1], device=x.device)[None] if mask is None else mask.cumsum(1)
                visible = visible & _within(index, x.shape[1], self.window)[:, None]
        if mask is not None:
            valid = mask[:, None, None]
            visible = valid if visible is None else visible & valid
            visible = visible | ~visible.any(-1, keepdim=True)
        return visible


def check_heads(
    dim: int, num_heads: int | None, num_kv_heads: int | None = None, head_dim: int | None = None
) -> tuple[int, int]:
    """Return the numbers of query and key heads, filled in where None; heads of their own width need not divide D.

    Raises:
        ConfigError: if they do not divide the width, or each other.
    """
    num_heads = default_heads(dim) if num_heads is None else num_heads
    num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    if num_heads < 1 or (head_dim is None and dim % num_heads):
        raise ConfigError(f"expected num_heads to divide the width {dim}, got {num_heads}")
    if num_kv_heads < 1 or num_heads % num_kv_heads:
        raise ConfigError(f"expected num_kv_heads to divide the {num_heads} heads, got {num_kv_heads}")
    return num_heads, num_kv_heads


def _within(index: Tensor, queries: int, window: int) -> Tensor:
    """Return which keys `(B, n, L)` the last n tokens may see, given the places `(B, L)` of all in their sequences."""
    return index[:, -queries:, None] - index[:, None] < window


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
