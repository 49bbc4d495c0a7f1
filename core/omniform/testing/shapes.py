"""Checks of what goes in and comes out: the declaration itself, shapes, dtypes, devices, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from omniform.layout import AxisKind, Layout
from omniform.mixers.base import Mixer, Traits
from omniform.testing.subject import (
    GRIDS,
    build,
    close,
    expect,
    modes,
    native_axes,
    plain,
    refuses,
    seeded,
    settings,
    tokens,
)

__all__ = ["check_batch", "check_declaration", "check_device", "check_dtype", "check_refusals", "check_shape"]

_WIDTHS = (20, 36)  # what the parameter solver may ask for


def check_declaration(cls: type[Mixer], dim: int) -> None:
    """The traits do not contradict each other, and an instance claims no more than its class."""
    traits, name = cls.traits, cls.name
    expect(name and name == name.lower() and " " not in name, f"expected a name like 'linear-attention', got {name!r}")
    expect(traits.ranks and set(traits.ranks) <= {1, 2, 3}, f"expected ranks among 1, 2, 3, got {traits.ranks}")
    expect(traits.axes and set(traits.axes) <= {"ordered", "set", "circular"}, f"unknown axes {traits.axes}")
    expect(not (traits.stateful and traits.causal == "never"), "stateful, but never causal")
    expect(not (traits.causal != "never" and 1 not in traits.ranks), "causal is a matter of rank 1, which is missing")
    expect(not (traits.global_tokens and 1 not in traits.ranks), "global tokens are of rank 1, which is missing")
    expect(not (traits.padding == "alone" and 1 not in traits.ranks), "padding 'alone' is for rank 1, which is missing")
    expect(
        not traits.fixed_grid or traits.padding == "refused",
        "a mixer of a fixed grid cannot run a sequence of another length, so padding must be 'refused'",
    )
    for grid, causal in settings(traits):
        mixer = build(cls, dim, grid, causal=causal)
        expect(mixer.causal == causal, f"built with causal={causal}, says causal={mixer.causal}")
        expect(mixer.dim == dim, f"built for width {dim}, says {mixer.dim}")
        expect(mixer.describe().strip(), "describe() is empty")
        if wider := _wider(mixer.traits, traits):
            raise AssertionError(f"an instance claims more than its class: {', '.join(wider)}")


def _wider(own: Traits, declared: Traits) -> list[str]:
    """Return the fields in which `own` promises what `declared` does not."""
    orders = {
        "causal": ("never", "optional"),
        "padding": ("refused", "alone", "native"),
        "cost": ("quadratic", "subquadratic", "loglinear", "linear"),
    }
    wider = []
    for field in fields(Traits):
        mine, class_own = getattr(own, field.name), getattr(declared, field.name)
        if field.name in ("ranks", "axes"):
            more = not set(mine) <= set(class_own)
        elif mine in orders.get(field.name, ()) and class_own in orders[field.name]:
            more = orders[field.name].index(mine) > orders[field.name].index(class_own)
        elif field.name == "fixed_grid":
            more = class_own and not mine
        else:
            more = mine is True and class_own is False
        if more:
            wider.append(f"{field.name}={mine!r} beyond {class_own!r}")
    return wider


def check_shape(cls: type[Mixer], dim: int) -> None:
    """Any grid and any width keep their shape, contiguous in memory or not; what comes in is left as it was."""
    sizes: dict[int, tuple[tuple[int, ...], ...]] = {
        1: ((1,), (2,), (7,), (16,)),
        2: ((1, 1), (1, 6), (5, 7)),
        3: ((1, 1, 1), (2, 1, 5), (3, 4, 5)),
    }
    with torch.no_grad():
        for first, causal in settings(cls.traits):
            shared = build(cls, dim, first, causal=causal)
            for grid in sizes[len(first)]:
                mixer = build(cls, dim, grid, causal=causal) if cls.traits.fixed_grid else shared
                x = tokens(2, *grid, dim)
                y = mixer(x, plain(cls.traits, grid))
                expect(y.shape == x.shape, f"{tuple(x.shape)} became {tuple(y.shape)}")
                expect(torch.equal(x, tokens(2, *grid, dim)), "the input was changed in place")
                close(mixer(x.mT.contiguous().mT, plain(cls.traits, grid)), y, "a strided input")
            for width in _WIDTHS:
                x = tokens(2, *first, width)
                y = build(cls, width, first, causal=causal)(x, plain(cls.traits, first))
                expect(y.shape == x.shape, f"{tuple(x.shape)} became {tuple(y.shape)}")


def check_batch(cls: type[Mixer], dim: int) -> None:
    """The samples of a batch do not see each other."""
    with torch.no_grad():
        for grid, causal in settings(cls.traits):
            mixer, layout = build(cls, dim, grid, causal=causal), plain(cls.traits, grid)
            x = tokens(3, *grid, dim)
            alone = torch.cat([mixer(row, layout) for row in x.split(1)])
            close(mixer(x, layout), alone, f"a batch against its samples, grid {grid}, causal={causal}")


def check_dtype(cls: type[Mixer], dim: int) -> None:
    """float64, float32 and bfloat16 come out as they went in, near each other, and so does mixed precision."""
    for grid, causal in settings(cls.traits):
        layout, x = plain(cls.traits, grid), tokens(2, *grid, dim)
        expected = build(cls, dim, grid, causal=causal)(x, layout)
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3), (torch.bfloat16, 0.2)):
            y = build(cls, dim, grid, causal=causal).to(dtype)(x.to(dtype), layout)  # the same noise in each
            expect(y.dtype == dtype, f"{dtype} became {y.dtype}")
            _near(y, expected, tolerance, f"{dtype}, grid {grid}, causal={causal}")
        if cls.traits.padding == "native" or (cls.traits.padding == "alone" and len(grid) == 1):
            layout = replace(layout, mask=torch.ones(2, *grid, dtype=torch.bool))
        with torch.autocast("cpu", torch.bfloat16):
            y = build(cls, dim, grid, causal=causal).float()(x.float(), layout)
        _near(y, expected, 0.2, f"mixed precision, grid {grid}, causal={causal}")


def _near(y: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    error = ((y.double() - expected).norm() / expected.norm()).item()
    expect(error <= tolerance, f"{what} is off by {error:.1e} of the norm, allowed {tolerance:.0e}")


def check_device(cls: type[Mixer], dim: int) -> None:
    """It is built on the device asked for, and what it makes in a call lies where its input lies."""
    for grid, causal in settings(cls.traits):
        axes = native_axes(cls.traits, len(grid))
        with seeded(), torch.device("meta"):
            empty = cls.make(dim, grid=grid, axes=axes, causal=causal)
        strays = [name for name, tensor in empty.state_dict().items() if tensor.device.type != "meta"]
        expect(not strays, f"built elsewhere than on the device asked for: {', '.join(strays)}")
        mixer = build(cls, dim, grid, causal=causal)
        counts = [sum(p.numel() for p in m.parameters()) for m in (empty, mixer)]
        expect(counts[0] == counts[1], f"{counts[0]} parameters on the meta device, {counts[1]} on a real one")
        x, layout = tokens(2, *grid, dim), Layout(grid, axes)
        if cls.traits.padding == "native":
            layout = replace(layout, mask=torch.ones(2, *grid, dtype=torch.bool))
        expected = mixer(x, layout)
        with torch.device("meta"):  # a tensor made without saying where now meets the input from another device
            y = mixer(x, layout)
        expect(y.device == x.device, f"the input is on {x.device}, the output on {y.device}")
        close(y, expected, "another default device")


def check_refusals(cls: type[Mixer], dim: int) -> None:
    """What the traits rule out raises IncompatibleError, in the constructor or in the call."""
    rank, causal = cls.traits.ranks[0], modes(cls.traits)[0]
    grid = GRIDS[rank]
    longer = (*grid[:-1], grid[-1] + 1)
    mixer, layout = build(cls, dim, grid, causal=causal), plain(cls.traits, grid)

    def call(layout: Layout, width: int = dim, shape: tuple[int, ...] | None = None) -> Callable[[], Tensor]:
        return lambda: mixer(tokens(2, *(shape or layout.grid), width), layout)

    refuses(call(layout, width=dim - 1), "another width")
    refuses(call(layout, shape=longer), "a layout of another grid than the tokens")
    for other in {1, 2, 3} - set(cls.traits.ranks):
        refuses(call(Layout(GRIDS[other])), f"a grid of rank {other}")
    for kind in get_args(AxisKind):
        if kind not in cls.traits.axes:
            refuses(call(Layout(grid, (kind, *layout.axes[1:]))), f"a {kind} axis")
    if cls.traits.fixed_grid:
        refuses(call(plain(cls.traits, longer)), "another grid than it was built for")
    if rank == 1 and not mixer.traits.global_tokens:
        refuses(call(replace(layout, num_global=2)), "global tokens")
    if cls.traits.causal == "never":
        refuses(lambda: cls.make(dim, grid=grid, axes=layout.axes, causal=True), "building with causal=True")
    _check_padding_refusals(cls, dim)
    _check_state_refusals(cls, dim)


def _check_padding_refusals(cls: type[Mixer], dim: int) -> None:
    for rank in cls.traits.ranks:
        if cls.traits.padding == "native" or (cls.traits.padding == "alone" and rank == 1):
            continue
        layout = plain(cls.traits, GRIDS[rank])
        mixer, x = build(cls, dim, layout.grid, causal=modes(cls.traits)[0]), tokens(1, *layout.grid, dim)
        mask = torch.ones(1, *layout.grid, dtype=torch.bool)
        mask.view(-1)[-1] = False
        refuses(partial(mixer, x, replace(layout, mask=mask)), f"padding in rank {rank}")
        if rank == 1:
            packed = replace(layout, offsets=torch.tensor([0, 3, layout.num_tokens]))
            refuses(partial(mixer, x, packed), "packed sequences")


def _check_state_refusals(cls: type[Mixer], dim: int) -> None:
    for causal in modes(cls.traits) if 1 in cls.traits.ranks else ():
        if not (cls.traits.stateful and causal):
            mixer, x = build(cls, dim, GRIDS[1], causal=causal), tokens(1, *GRIDS[1], dim)
            refuses(lambda m=mixer, x=x: m.extend(x, m.init_state(1)), f"extend, of an instance with causal={causal}")
