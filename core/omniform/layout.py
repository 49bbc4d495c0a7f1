"""How the tokens of a tensor `(B, *grid, D)` lie: axes, padding, packing, positions, global tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from torch import Tensor

from omniform.errors import IncompatibleError

__all__ = ["AxisKind", "Layout", "compact", "expand", "pack", "take", "unpack"]

AxisKind = Literal["ordered", "set", "circular"]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Describe a token tensor of shape `(B, *grid, D)`.

    Attributes:
        grid: number of tokens along each axis; global tokens count in `grid[0]`.
        axes: kind of each axis, all `"ordered"` if left empty. `"set"` has no order (variates, points), `"circular"`
            joins its ends (longitude).
        mask: `(B, *grid)` bool, true where a token is valid: right, left or ragged padding.
        offsets: `(S + 1,)` int64, packed sequences: batch of one, rank 1, sequence `s` at `offsets[s]:offsets[s + 1]`.
        coords: `(B or 1, *grid, R)` positions; they travel with their tokens through dropping and serialisation.
        num_global: how many leading tokens are class, latent or task tokens without a place; rank 1.

    Raises:
        IncompatibleError: if the parts contradict each other.
    """

    grid: tuple[int, ...]
    axes: tuple[AxisKind, ...] = ()
    mask: Tensor | None = None
    offsets: Tensor | None = None
    coords: Tensor | None = None
    num_global: int = 0

    def __post_init__(self) -> None:
        if not self.axes:
            object.__setattr__(self, "axes", ("ordered",) * len(self.grid))
        if len(self.axes) != len(self.grid):
            raise IncompatibleError(f"expected one kind per axis of the grid {self.grid}, got {self.axes}")
        if self.rank != 1 and (self.offsets is not None or self.num_global):
            raise IncompatibleError(f"packed sequences and global tokens are of rank 1, got the grid {self.grid}")
        if self.offsets is not None and self.mask is not None:
            raise IncompatibleError("packed sequences carry no padding: give offsets or a mask, not both")
        if self.offsets is not None and self.num_global:
            raise IncompatibleError("packed sequences with global tokens are not supported: pad them instead")
        if self.mask is not None and self.mask.shape[1:] != self.grid:
            raise IncompatibleError(f"expected a mask of shape (B, {self.grid}), got {tuple(self.mask.shape)}")
        if self.coords is not None and self.coords.shape[1:-1] != self.grid:
            raise IncompatibleError(f"expected coords of shape (B, {self.grid}, R), got {tuple(self.coords.shape)}")

    @classmethod
    def of(cls, x: Tensor, axes: tuple[AxisKind, ...] = ()) -> Layout:
        """Return the plain layout of `x`, `(B, *grid, D)`."""
        return cls(tuple(x.shape[1:-1]), axes)

    @property
    def rank(self) -> int:
        return len(self.grid)

    @property
    def num_tokens(self) -> int:
        return prod(self.grid)

    def check(self, x: Tensor) -> None:
        """Raise unless `x` is `(B, *grid, D)` for this layout."""
        if tuple(x.shape[1:-1]) != self.grid:
            raise IncompatibleError(f"expected tokens of shape (B, {self.grid}, D), got {tuple(x.shape)}")
        if self.mask is not None and len(self.mask) != len(x):
            raise IncompatibleError(f"expected a mask for a batch of {len(x)}, got one for {len(self.mask)}")
        if self.offsets is not None and x.shape[0] != 1:
            raise IncompatibleError(f"packed sequences come as a batch of one, got a batch of {x.shape[0]}")

    def positions(self, like: Tensor) -> Tensor:
        """Return `(B or 1, *grid, R)` coordinates in the device and dtype of `like`; the token's index by default.

        A global token has no place: it stands at the origin, and the first token behind the global ones does too.
        """
        if self.coords is not None:
            return self.coords.to(like)
        index = [torch.arange(n, device=like.device, dtype=like.dtype) for n in self.grid]
        if self.num_global:
            index[0] = (index[0] - self.num_global).clamp(min=0)
        return torch.stack(torch.meshgrid(*index, indexing="ij"), dim=-1)[None]

    def flatten(self) -> Layout:
        """Return the rank-1 layout of the same tokens in raster order; a grid's coordinates are kept as `coords`."""
        if self.rank == 1:
            return self
        device = None if self.mask is None else self.mask.device
        coords = self.positions(torch.empty(0, device=device)) if self.coords is None else self.coords
        return Layout(
            (self.num_tokens,),
            ("set",) if set(self.axes) == {"set"} else ("ordered",),
            mask=None if self.mask is None else self.mask.flatten(1),
            coords=coords.flatten(1, -2),
        )

    def valid(self, batch: int, device: torch.device | str) -> Tensor:
        """Return the mask, or one of all true."""
        return torch.ones(batch, *self.grid, dtype=torch.bool, device=device) if self.mask is None else self.mask


def take(x: Tensor, layout: Layout, index: Tensor) -> tuple[Tensor, Layout]:
    """Keep some tokens of a rank-1 tensor, as token dropping does.

    Args:
        x: `(B, G + L, D)` with `G = layout.num_global` global tokens, which always stay.
        index: `(B, K)` int64 indices in `0..L-1` among the other tokens, in the order wanted.

    Returns:
        Tokens `(B, G + K, D)` and their layout; mask and coordinates travel along.
    """
    layout.check(x)
    if layout.rank != 1 or layout.offsets is not None:
        raise IncompatibleError("dropping tokens expects padded rank-1 tokens: flatten the grid or unpack first")
    kept = torch.arange(layout.num_global, device=index.device).expand(index.shape[0], -1)
    index = torch.cat([kept, index + layout.num_global], dim=1)  # (B, G + K)
    like = x.new_empty(0, dtype=torch.promote_types(x.dtype, torch.float32))  # bfloat16 counts to 256 only
    coords = layout.positions(like).expand(x.shape[0], -1, -1)
    return _gather(x, index), replace(
        layout,
        grid=(index.shape[1],),
        mask=None if layout.mask is None else layout.mask.gather(1, index),
        coords=_gather(coords, index),
    )


def compact(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move valid tokens to the front, in their order: left and ragged padding become right padding.

    Args:
        x: `(B, L, D)`.
        mask: `(B, L)` bool.

    Returns:
        Tokens `(B, L, D)` with zeros behind the valid ones, their mask `(B, L)`, and the order `(B, L)` for `expand`.
    """
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    mask = mask.gather(1, order)
    return _gather(x, order).masked_fill(~mask[..., None], 0), mask, order


def expand(x: Tensor, mask: Tensor, order: Tensor) -> Tensor:
    """Undo `compact`: put tokens `(B, L, D)` back where they came from, zeros elsewhere."""
    x = x.masked_fill(~mask[..., None], 0)
    return torch.zeros_like(x).scatter(1, order[..., None].expand_as(x), x)


def unpack(x: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Turn packed `(1, T, D)` into right-padded `(S, max length, D)` and its mask `(S, max length)`."""
    lengths = offsets.diff()
    step = torch.arange(int(lengths.max()), device=x.device)
    mask = step < lengths[:, None]  # (S, L)
    index = (offsets[:-1, None] + step).clamp(max=x.shape[1] - 1)
    return x[0, index].masked_fill(~mask[..., None], 0), mask


def pack(x: Tensor, mask: Tensor) -> Tensor:
    """Undo `unpack`: right-padded `(S, L, D)` back to `(1, T, D)`."""
    return x[mask][None]


def _gather(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
