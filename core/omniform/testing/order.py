"""Checks of what sees what: causality, kinds of axes, global tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Mixer
from omniform.testing.subject import GRIDS, build, close, expect, influence, modes, native_axes, plain, refuses, tokens

__all__ = ["check_causality", "check_circular_axes", "check_global_tokens", "check_set_axes"]


def check_causality(cls: type[Mixer], dim: int) -> None:
    """A causal instance sees nothing ahead, whatever comes there; another sees ahead and behind."""
    (size,) = GRIDS[1]
    for causal in modes(cls.traits):
        mixer, layout = build(cls, dim, (size,), causal=causal), plain(cls.traits, (size,))
        seen = influence(mixer, layout)
        expect(seen.tril(-1).any(), f"no token sees another one behind it, causal={causal}")
        if not causal:
            expect(seen.triu(1).any(), "no token sees ahead, although the instance is not causal")
            continue
        x = tokens(2, size, dim)
        with torch.no_grad():
            before = mixer(x, layout)
            for i in range(size):
                changed = torch.cat([x[:, :i], 3 * tokens(2, size - i, dim, seed=5)], dim=1)
                what = f"outputs before token {i}, from which on the input was changed"
                close(mixer(changed, layout)[:, :i], before[:, :i], what)


def check_set_axes(cls: type[Mixer], dim: int) -> None:
    """Permuting the tokens along a set axis permutes the outputs."""
    _check_equivariance(cls, dim, "set", lambda n: [tokens(n, seed=seed).argsort() for seed in (6, 7)])


def check_circular_axes(cls: type[Mixer], dim: int) -> None:
    """Shifting the tokens along a circular axis, round its end, shifts the outputs."""
    _check_equivariance(cls, dim, "circular", lambda n: [torch.arange(n).roll(shift) for shift in (1, 2, n // 2)])


def _check_equivariance(cls: type[Mixer], dim: int, kind: AxisKind, orders: Callable[[int], Iterable[Tensor]]) -> None:
    """Reorder along each axis in turn, the other axes being of this kind too or plain."""
    for rank in cls.traits.ranks:
        grid, plain_axes = GRIDS[rank], native_axes(cls.traits, rank)
        for axes in _with_kind(plain_axes, kind):
            mixer, layout, x = build(cls, dim, grid, axes=axes), Layout(grid, axes), tokens(2, *grid, dim)
            with torch.no_grad():
                y = mixer(x, layout)
                for axis in (axis for axis in range(rank) if axes[axis] == kind):
                    for order in orders(grid[axis]):
                        moved = mixer(x.index_select(axis + 1, order), layout)
                        what = f"axes {axes}, tokens reordered along axis {axis} as {order.tolist()}"
                        close(moved, y.index_select(axis + 1, order), what)


def _with_kind(axes: tuple[AxisKind, ...], kind: AxisKind) -> Iterable[tuple[AxisKind, ...]]:
    every: tuple[AxisKind, ...] = (kind,) * len(axes)
    return dict.fromkeys([every, *((*axes[:i], kind, *axes[i + 1 :]) for i in range(len(axes)))])


def check_global_tokens(cls: type[Mixer], dim: int) -> None:
    """Leading global tokens are seen by all tokens and see all; a causal instance refuses them or blinds them.

    A global token that saw ahead would, one layer on, show the future to every token.
    """
    count, (size,) = 2, GRIDS[1]
    layout = replace(plain(cls.traits, (size,)), num_global=count)
    taken = False
    for causal in modes(cls.traits):
        mixer = build(cls, dim, (size,), causal=causal)
        if not mixer.traits.global_tokens:
            refuses(lambda mixer=mixer: mixer(tokens(1, size, dim), layout), f"global tokens, causal={causal}")
            continue
        taken = True
        seen = influence(mixer, layout)
        expect(seen[count:, :count].all(), f"some token does not see every global token, causal={causal}")
        expect(causal or seen[:count].all(), "some global token does not see all")
        expect(not (causal and seen[:count, count:].any()), "global tokens of a causal instance see the others")
    expect(taken, "the class declares global tokens, but no instance takes them")
