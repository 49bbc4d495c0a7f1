"""Checks of padding and packing: what is not there is never seen, in outputs and in gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from omniform.errors import IncompatibleError
from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Mixer
from omniform.testing.subject import GRIDS, build, close, expect, gradients, modes, native_axes, plain, settings, tokens

__all__ = ["check_coordinates", "check_empty", "check_packed", "check_padding", "check_poison"]

_LENGTHS = (67, 40, 1, 52)
_BOXES = {2: ((9, 10), (8, 3), (1, 10), (2, 2)), 3: ((5, 4, 6), (4, 4, 3), (5, 1, 1), (1, 3, 6))}


def check_padding(cls: type[Mixer], dim: int) -> None:
    """`forward(padded)[valid]` equals each sequence alone: left, right and ragged padding, outputs and gradients.

    A grid is valid in a box at its origin. On a circular axis padding is either right or refused.
    """
    for mixer, layout, what in _padded(cls, dim):
        _compare(mixer, layout, what)
    if "circular" in cls.traits.axes and 1 in cls.traits.ranks:
        _check_circle(cls, dim)


def _check_circle(cls: type[Mixer], dim: int) -> None:
    mixer = build(cls, dim, GRIDS[1], axes=("circular",))
    layout = Layout(GRIDS[1], ("circular",), mask=_masks()["right"])
    try:
        mixer(tokens(len(_LENGTHS), *GRIDS[1], dim), layout)
    except IncompatibleError:
        return
    _compare(mixer, layout, "right padding of a circular axis")


def check_coordinates(cls: type[Mixer], dim: int) -> None:
    """Coordinates travel with their tokens; the token's index as a coordinate changes nothing."""
    for grid, causal in settings(cls.traits):
        mixer, layout, x = build(cls, dim, grid, causal=causal), plain(cls.traits, grid), tokens(2, *grid, dim)
        explicit = replace(layout, coords=layout.positions(x))
        close(mixer(x, explicit), mixer(x, layout), f"the index as coordinates, grid {grid}, causal={causal}")
    for mixer, layout, what in _padded(cls, dim):
        coords = 3 * tokens(len(_LENGTHS), *layout.grid, layout.rank, seed=3)
        _compare(mixer, replace(layout, coords=coords), f"{what}, with coordinates")


def check_poison(cls: type[Mixer], dim: int) -> None:
    """Finite garbage at padded places changes no output, no gradient, and receives none.

    Garbage is finite by contract: a mask that multiplies, or a product with zero weights, may meet it.
    """
    for mixer, layout, what in _padded(cls, dim):
        mask = layout.valid(len(_LENGTHS), "cpu")
        x = _with_zeros(tokens(len(_LENGTHS), *layout.grid, dim), mask)
        garbage = 1e6 * _with_zeros(tokens(*x.shape, seed=4), ~mask)
        results = []
        for value in (x, x + garbage):
            value.requires_grad_()
            y = mixer(value, layout)
            results.append((y[mask], gradients(mixer, [value], [y[mask]])))
        (clean, clean_grads), (dirty, dirty_grads) = results
        close(dirty, clean, f"outputs beside garbage, {what}")
        for name, grad in clean_grads.items():
            close(dirty_grads[name], grad, f"gradient of {name} beside garbage, {what}", 1e-8)


def check_empty(cls: type[Mixer], dim: int) -> None:
    """A sample without a single valid token leaves outputs and gradients finite, and the other samples alone."""
    for mixer, layout, what in _padded(cls, dim):
        mask = torch.cat([layout.valid(len(_LENGTHS), "cpu")[:2], torch.zeros(1, *layout.grid, dtype=torch.bool)])
        x = tokens(3, *layout.grid, dim).requires_grad_()
        y = mixer(x, replace(layout, mask=mask))
        expect(y.isfinite().all(), f"an empty sample gives outputs that are not finite, {what}")
        grads = gradients(mixer, [x], [y[mask]])
        for name, grad in grads.items():
            expect(grad.isfinite().all(), f"an empty sample gives {name} a gradient that is not finite, {what}")
        full = replace(layout, mask=mask[:2])
        close(y[:2][mask[:2]], mixer(x[:2], full)[mask[:2]], f"samples beside an empty one, {what}")


def check_packed(cls: type[Mixer], dim: int) -> None:
    """Packed sequences equal each alone, outputs and gradients, with and without coordinates."""
    total = sum(_LENGTHS)
    offsets = torch.tensor([0, *_LENGTHS]).cumsum(0)
    for causal, explicit in product(modes(cls.traits), (False, True)):
        mixer = build(cls, dim, (total,), causal=causal)
        axes = native_axes(cls.traits, 1)
        coords = 3 * tokens(1, total, 1, seed=3) if explicit else None
        x = tokens(1, total, dim).requires_grad_()
        packed = mixer(x, Layout((total,), axes, offsets=offsets, coords=coords))
        bounds = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
        alone = [
            mixer(x[:, a:b], Layout((b - a,), axes, coords=None if coords is None else coords[:, a:b]))
            for a, b in bounds
        ]
        what = f"packed, causal={causal}" + (", with coordinates" if explicit else "")
        close(packed, torch.cat(alone, dim=1), f"outputs, {what}")
        expected = gradients(mixer, [x], alone)
        for name, grad in gradients(mixer, [x], [packed[:, a:b] for a, b in bounds]).items():
            close(grad, expected[name], f"gradient of {name}, {what}", 1e-8)


def _masks() -> dict[str, Tensor]:
    """Return right, left and ragged masks `(B, L)` of the same lengths."""
    (size,) = GRIDS[1]
    lengths, step = torch.tensor(_LENGTHS)[:, None], torch.arange(size)
    shuffled = torch.rand(len(_LENGTHS), size, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    return {"right": step < lengths, "left": step >= size - lengths, "ragged": shuffled < lengths}


def _padded(cls: type[Mixer], dim: int) -> Iterator[tuple[Mixer, Layout, str]]:
    """Yield a mixer with a masked layout for all that the class says it can read."""
    traits = cls.traits
    for rank in {"native": traits.ranks, "alone": (1,), "refused": ()}[traits.padding]:
        kinds: Sequence[AxisKind] = [kind for kind in ("ordered", "set") if kind in traits.axes]
        for kind, causal in product(kinds, modes(traits)):
            if causal and (rank > 1 or kind == "set"):
                continue
            mixer = build(cls, dim, GRIDS[rank], axes=(kind,) * rank, causal=causal)
            masks = _masks() if rank == 1 else {"a box": _boxes(GRIDS[rank], _BOXES[rank])}
            for side, mask in masks.items():
                layout = Layout(GRIDS[rank], (kind,) * rank, mask=mask)
                yield mixer, layout, f"{side} padding, {kind} axes of rank {rank}, causal={causal}"
    for causal in modes(traits) if traits.global_tokens else ():
        mixer = build(cls, dim, GRIDS[1], causal=causal)
        mask = _masks()["right"]
        mask[:, :2] = True
        layout = Layout(GRIDS[1], native_axes(traits, 1), mask=mask, num_global=2)
        if mixer.traits.global_tokens:
            yield mixer, layout, f"right padding behind global tokens, causal={causal}"


def _boxes(grid: tuple[int, ...], boxes: Sequence[tuple[int, ...]]) -> Tensor:
    mask = torch.zeros(len(boxes), *grid, dtype=torch.bool)
    for row, box in zip(mask, boxes, strict=True):
        row[tuple(slice(n) for n in box)] = True
    return mask


def _compare(mixer: Mixer, layout: Layout, what: str) -> None:
    """Compare padded with alone, outputs and gradients."""
    mask = layout.valid(len(_LENGTHS), "cpu")
    x = _with_zeros(tokens(len(mask), *layout.grid, mixer.dim), mask).requires_grad_()
    y = mixer(x, layout)
    alone = []
    for b, valid in enumerate(mask):
        box = tuple(len(places.unique()) for places in valid.nonzero().T)
        coords = None if layout.coords is None else layout.coords[b, valid].view(1, *box, -1)
        single = replace(layout, grid=box, mask=None, coords=coords)
        alone.append(mixer(x[b, valid].view(1, *box, -1), single).flatten(0, -2))
    rows = [row[valid] for row, valid in zip(y, mask, strict=True)]
    close(torch.cat(rows), torch.cat(alone), f"outputs, {what}")
    expected = gradients(mixer, [x], alone)
    for name, grad in gradients(mixer, [x], rows).items():
        close(grad, expected[name], f"gradient of {name}, {what}", 1e-8)


def _with_zeros(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask[..., None], 0)
