"""Checks of cost: growth as declared, formulas as counted."""

from __future__ import annotations

from math import log, prod

import torch

from omniform.mixers.base import Mixer
from omniform.testing.counting import Count, count
from omniform.testing.subject import build, expect, plain, settings, tokens

__all__ = ["check_flops", "check_growth", "check_parameters"]

_SIZES: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    1: ((256,), (1024,)),
    2: ((16, 16), (32, 32)),
    3: ((8, 8, 8), (16, 16, 8)),
}
"""Two grids of each rank, the second of four times as many tokens; chunked forms need more than a chunk."""

_MOST = {"linear": 1.1, "loglinear": 1.25, "subquadratic": 1.7, "quadratic": 2.1}
"""The largest exponent of each class between these grids; n log n measures 1.15."""

_TOLERANCE = 0.25
_BLOCKED = 0.25
_GROWTH = 1.5


def check_growth(cls: type[Mixer], dim: int) -> None:
    """Counted operations and saved bytes grow with the number of tokens at most as declared.

    Time is no part of this: it belongs to benchmarks.
    """
    for first, causal in settings(cls.traits):
        small, large = _SIZES[len(first)]
        counts = [_run(cls, dim, grid, causal) for grid in (small, large)]
        declared = build(cls, dim, small, causal=causal).traits.cost  # what an instance narrows
        for what, pair in (
            ("operations", [c.flops for c in counts]),
            ("saved bytes", [c.saved_bytes for c in counts]),
        ):
            exponent = log(max(pair[1], 1) / max(pair[0], 1)) / log(prod(large) / prod(small))
            expect(
                exponent <= _MOST[declared],
                f"{what} grow with the power {exponent:.2f} of the number of tokens from {small} to {large}, causal="
                f"{causal}; declared {declared}, at most {_MOST[declared]}",
            )


def check_parameters(cls: type[Mixer], dim: int) -> None:
    """`cost(grid).parameters` is the number of trainable parameters."""
    for grid, causal in settings(cls.traits):
        mixer = build(cls, dim, grid, causal=causal)
        formula, counted = mixer.cost(grid).parameters, sum(p.numel() for p in mixer.parameters() if p.requires_grad)
        expect(formula == counted, f"cost() says {formula} parameters, there are {counted}; grid {grid}")


def check_flops(cls: type[Mixer], dim: int) -> None:
    """`cost(grid).flops` agrees with what is counted, in size and in growth.

    The formula lies between three quarters of the counted matrix products and five quarters of all counted operations.
    What is linear is often computed in blocks that multiply more than its definition, up to four times as much.
    """
    for first, causal in settings(cls.traits):
        grids = _SIZES[len(first)]
        counts = [_run(cls, dim, grid, causal) for grid in grids]
        formulas = [build(cls, dim, grid, causal=causal).cost(grid).flops for grid in grids]
        for grid, counted, formula in zip(grids, counts, formulas, strict=True):
            low = (_BLOCKED if cls.traits.cost == "linear" else 1 - _TOLERANCE) * counted.products
            high = (1 + _TOLERANCE) * counted.flops
            expect(
                low <= formula <= high,
                f"cost() says {formula:,} operations for the grid {grid}, causal={causal}; counted "
                f"{counted.products:,} in products and {counted.elementwise:,} elementwise",
            )
        growth, expected = formulas[1] / formulas[0], counts[1].flops / counts[0].flops
        expect(
            1 / _GROWTH <= growth / expected <= _GROWTH,
            f"cost() grows {growth:.2f} times from {grids[0]} to {grids[1]}, counted operations {expected:.2f} times",
        )


def _run(cls: type[Mixer], dim: int, grid: tuple[int, ...], causal: bool) -> Count:
    mixer = build(cls, dim, grid, causal=causal, dtype=torch.float32)
    x = tokens(1, *grid, dim, dtype=torch.float32).requires_grad_()
    layout = plain(cls.traits, grid)
    counted = count(lambda: mixer(x, layout), leave_out=mixer.state_dict().values())
    expect(
        not counted.unknown,
        f"give {', '.join(sorted(counted.unknown))} a formula by torch.utils.flop_counter.register_flop_formula",
    )
    return counted
