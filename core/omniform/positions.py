"""Where tokens are: additive embeddings for stems, rotations and biases to inject into attention.

Shapes: B batch, L tokens, D width, H heads, d head width, R coordinate axes, `*grid` one or more token axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from omniform.errors import IncompatibleError
from omniform.layout import Layout

__all__ = ["Alibi", "AttentionBias", "Learned", "Rotary", "Sinusoidal", "token_positions"]


def token_positions(layout: Layout, like: Tensor) -> Tensor:
    """Return `(B or 1, *grid, R)` positions, those that each sequence would have alone and unpadded.

    Coordinates are taken as they are; without them, a packed token counts from the start of its sequence, and a token
    of a padded sequence counts the valid ones before it. The dtype is that of `like`, but at least float32: bfloat16
    cannot tell position 257 from 258.
    """
    like = torch.empty(0, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
    if layout.coords is None and layout.offsets is not None:
        index = torch.arange(layout.num_tokens, device=like.device)
        sequence = torch.bucketize(index, layout.offsets[1:], right=True)
        return (index - layout.offsets[sequence]).to(like)[None, :, None]
    if layout.coords is None and layout.mask is not None and layout.rank == 1:
        placed = torch.arange(layout.num_tokens, device=like.device) >= layout.num_global
        return ((layout.mask & placed).cumsum(1) - 1).clamp(min=0).to(like)[..., None]
    return layout.positions(like)


class Learned(nn.Module):
    r"""Add a learned vector to every token: one table per axis, summed over the axes.

    .. math::
        y_{i_1 \dots i_R} = x_{i_1 \dots i_R} + \sum_{r=1}^{R} T^{(r)}_{i_r}

    Tables per axis grow with the sum of the axes, not their product, and serve every smaller grid. Global tokens have
    no place and stay as they are.

    Args:
        dim: width D.
        grid: the largest number of places along each axis. With `coords`, which are rounded, one per coordinate.

    Raises:
        IncompatibleError: if the tokens lie outside that grid, or along a set without coordinates.

    Source: Gehring et al., Convolutional Sequence to Sequence Learning, arXiv 1705.03122.
    """

    def __init__(self, dim: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid
        self.tables = nn.ParameterList(nn.init.trunc_normal_(torch.empty(n, dim), std=0.02) for n in grid)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Embed `x` (B, *grid, D)."""
        _check_places(layout)
        index = token_positions(layout, x).round().long()  # (B or 1, *grid, R)
        self._check_fit(layout, index)
        places = torch.stack([table[index[..., r]] for r, table in enumerate(self.tables)]).sum(0)  # (B or 1, *grid, D)
        return x + _without_globals(places, layout)

    def _check_fit(self, layout: Layout, index: Tensor) -> None:
        if layout.coords is None:
            largest = (layout.grid[0] - layout.num_global, *layout.grid[1:])
        else:
            largest = tuple(int(n) + 1 for n in index.flatten(0, -2).amax(0))
        if len(largest) != len(self.grid) or any(n > most for n, most in zip(largest, self.grid, strict=True)):
            raise IncompatibleError(
                f"expected at most {self.grid} learned places, got tokens on {largest}: build Learned for a larger grid"
            )


class Sinusoidal(nn.Module):
    r"""Add sines and cosines of the position; the channels are split evenly over the coordinate axes.

    .. math::
        e_{2i} = \sin(p\, \theta^{-2i/d}), \quad e_{2i+1} = \cos(p\, \theta^{-2i/d})

    for each axis, with d its share of the channels. An odd last channel and global tokens stay as they are.

    Args:
        dim: width D, at least two channels per axis.
        base: :math:`\theta`.

    Raises:
        IncompatibleError: if the channels do not go round, or the tokens lie along a set without coordinates.

    Source: Vaswani et al., Attention Is All You Need, arXiv 1706.03762.
    """

    def __init__(self, dim: int, base: float = 10_000.0) -> None:
        super().__init__()
        self.dim = dim
        self.base = base

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Embed `x` (B, *grid, D)."""
        _check_places(layout)
        angles = _angles(token_positions(layout, x), self.dim // 2, self.base)  # (B or 1, *grid, D // 2)
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
        places = nn.functional.pad(waves, (0, self.dim % 2)).to(x.dtype)  # (B or 1, *grid, D)
        return x + _without_globals(places, layout)


class Rotary(nn.Module):
    r"""Rotate pairs of channels of queries and keys by angles that grow with the position.

    .. math::
        (x_{2i}, x_{2i+1}) \mapsto R(p\, \theta^{-2i/d})\, (x_{2i}, x_{2i+1})

    so that scores depend on differences of positions alone. With R coordinates the pairs are split evenly over them,
    the first ones taking what is left over, and d is the number of channels of that coordinate. An odd last channel is
    not rotated.

    Args:
        base: :math:`\theta`.
        channels: how many leading channels of a head are rotated; None for all.
        slowing: a divisor of each pair's frequency, as long-context variants have them; R = 1; None for ones.

    Raises:
        IncompatibleError: if there are fewer pairs than coordinates.

    Source: Su et al., RoFormer, arXiv 2104.09864.
    """

    def __init__(
        self, base: float = 10_000.0, *, channels: int | None = None, slowing: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.base = base
        self.channels = channels
        self.slowing = None if slowing is None else tuple(slowing)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate queries or keys `(B, H, L, d)` that stand at `positions` (B or 1, L, R)."""
        pairs = (x.shape[-1] if self.channels is None else self.channels) // 2
        angles = _angles(positions, pairs, self.base)[:, None]  # (B or 1, 1, L, pairs)
        if self.slowing is not None:
            angles = angles / torch.tensor(self.slowing, dtype=angles.dtype, device=angles.device)
        cos, sin = angles.cos(), angles.sin()
        even, odd = x[..., : 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
        rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
        return torch.cat([rotated.to(x.dtype), x[..., 2 * pairs :]], dim=-1)  # (B, H, L, d)


class AttentionBias(nn.Module):
    """Add to the scores of attention what two positions say about each other."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return biases `(B or 1, H, Lq, Lk)` for queries at `(B or 1, Lq, R)` and keys at `(B or 1, Lk, R)`."""
        raise NotImplementedError


class Alibi(AttentionBias):
    r"""Penalise distance, each head with its own slope.

    .. math::
        b_{hij} = -m_h\, \lVert p_i - p_j \rVert_2, \quad m_h = 2^{-8h/H}, \quad h = 1 \dots H

    In causal attention this is the paper's bias; otherwise it is symmetric. Where H is no power of two the paper's code
    takes the slopes of the power below, then every other one of the power above.

    Source: Press et al., Train Short, Test Long, arXiv 2108.12409.
    """

    slopes: Tensor

    def __init__(self, num_heads: int) -> None:
        super().__init__(num_heads)
        self.register_buffer("slopes", torch.tensor(_slopes(num_heads)), persistent=False)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        distance = torch.linalg.vector_norm(queries[:, :, None] - keys[:, None], dim=-1)  # (B or 1, Lq, Lk)
        return -self.slopes.to(distance)[:, None, None] * distance[:, None]  # (B or 1, H, Lq, Lk)


def _slopes(num_heads: int) -> list[float]:
    below = 1 << (num_heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * h / below) for h in range(1, below + 1)]
    between = [2.0 ** (-4 * h / below) for h in range(1, 2 * below + 1, 2)]
    return slopes + between[: num_heads - below]


def _angles(positions: Tensor, num_pairs: int, base: float) -> Tensor:
    """Return `(..., num_pairs)` angles for positions `(..., R)`."""
    rank = positions.shape[-1]
    if num_pairs < rank:
        raise IncompatibleError(f"expected a channel pair per coordinate, got {num_pairs} for {rank}: widen the heads")
    angles = []
    for axis in range(rank):
        share = num_pairs // rank + (axis < num_pairs % rank)
        step = torch.arange(share, device=positions.device, dtype=positions.dtype) / share
        angles.append(positions[..., axis : axis + 1] * base**-step)
    return torch.cat(angles, dim=-1)


def _check_places(layout: Layout) -> None:
    if "set" in layout.axes and layout.coords is None:
        raise IncompatibleError("a set axis has no positions: give the layout coords, or leave the embedding out")


def _without_globals(places: Tensor, layout: Layout) -> Tensor:
    if not layout.num_global:
        return places
    placed = torch.arange(layout.num_tokens, device=places.device) >= layout.num_global
    return places * placed[:, None]
