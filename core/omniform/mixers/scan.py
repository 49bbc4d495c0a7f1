"""Lift a sequence mixer to grids and to both directions by running it along several orders of the tokens.

Shapes: B batch, N tokens of the whole grid, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from omniform.layout import Layout
from omniform.mixers.base import Cost, Mixer, MixerFactory, Traits

__all__ = ["BOTH_WAYS", "CROSS", "Order", "Scan", "scan_order"]

Order = Literal["raster", "transposed", "hilbert", "z", "-raster", "-transposed", "-hilbert", "-z"]
"""An order of the tokens of a grid; a leading minus reverses it."""

BOTH_WAYS: tuple[Order, ...] = ("raster", "-raster")
CROSS: tuple[Order, ...] = ("raster", "-raster", "transposed", "-transposed")
"""The four directions of VMamba's cross-scan (arXiv 2401.10166)."""


class Scan(Mixer):
    """Run one sequence mixer per order over the flattened tokens and average what comes back.

    `y = 1/|orders| * sum_o unorder_o(mixer_o(order_o(x)))`, each mixer with parameters of its own. With a causal mixer
    and an order together with its reverse, every token sees every other one.

    Args:
        dim: width D.
        make: makes the mixer of one order.
        orders: the orders; both ways along the raster by default.
        impose_order: also take `"set"` and `"circular"` axes, as if their index were an order. The result is not
            equivariant, and `describe` says so.
    """

    name: ClassVar[str] = "scan"

    def __init__(
        self, dim: int, make: MixerFactory, *, orders: Sequence[Order] = BOTH_WAYS, impose_order: bool = False
    ) -> None:
        mixers = [make(dim) for _ in orders]
        self.traits = Traits(
            ranks=(1, 2, 3),
            axes=("ordered", "set", "circular") if impose_order else ("ordered",),
            padding="refused" if mixers[0].traits.padding == "refused" else "native",
            cost=mixers[0].traits.cost,
            compiles=False,  # the orders are cached outside of the graph
        )
        super().__init__(dim)
        self.orders = tuple(orders)
        self.impose_order = impose_order
        self.mixers = cast("list[Mixer]", nn.ModuleList(mixers))

    def mix(self, x: Tensor, layout: Layout) -> Tensor:
        flat = x.flatten(1, -2)  # (B, N, D)
        mask = None if layout.mask is None else layout.mask.flatten(1)
        coords = None if layout.coords is None else layout.coords.flatten(1, -2)
        total = torch.zeros_like(flat)
        for order, mixer in zip(self.orders, self.mixers, strict=True):
            index = scan_order(order, layout.grid).to(x.device)
            along = Layout(
                (flat.shape[1],),
                mask=None if mask is None else mask[:, index],
                coords=None if coords is None else coords[:, index],
            )
            total = total.index_add(1, index, mixer(flat[:, index], along).to(total.dtype))
        return (total / len(self.orders)).unflatten(1, layout.grid)

    def describe(self) -> str:
        how = f"{self.mixers[0].describe()}, scanned along {', '.join(self.orders)}"
        return f"{how}; the index taken as an order" if self.impose_order else how

    def cost(self, grid: tuple[int, ...]) -> Cost:
        tokens = (int(np.prod(grid)),)
        return sum((mixer.cost(tokens) for mixer in self.mixers), Cost(parameters=0, flops=0))


@lru_cache(maxsize=64)
def scan_order(order: Order, grid: tuple[int, ...]) -> Tensor:
    """Return `(N,)` raster indices of a grid's tokens in the given order.

    Hilbert and Z curves run over the enclosing power-of-two cube; tokens outside the grid are left out, so that any
    size is allowed.
    """
    index = _CURVES[order.removeprefix("-")](grid)
    return torch.from_numpy((index[::-1] if order.startswith("-") else index).copy())


def _raster(grid: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(grid))


def _transposed(grid: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(grid)).reshape(grid).transpose().reshape(-1)


def _z(grid: tuple[int, ...]) -> np.ndarray:
    return np.argsort(_interleave(_axes(grid), _bits(grid)), kind="stable")


def _hilbert(grid: tuple[int, ...]) -> np.ndarray:
    """Sort by the Hilbert index: Skilling's transpose form (AIP Conf. Proc. 707, 381, 2004)."""
    x, bits = _axes(grid), _bits(grid)
    for bit in reversed(range(1, bits)):
        for axis in range(len(x)):
            lower = (1 << bit) - 1
            swap = np.where(x[axis] >> bit & 1, 0, (x[0] ^ x[axis]) & lower)
            flip = np.where(x[axis] >> bit & 1, lower, 0)
            x[0] ^= flip ^ swap
            x[axis] ^= swap
    for axis in range(1, len(x)):
        x[axis] ^= x[axis - 1]
    parity = np.zeros_like(x[0])
    for bit in range(1, bits):
        parity ^= np.where(x[-1] >> bit & 1, (1 << bit) - 1, 0)
    return np.argsort(_interleave(x ^ parity, bits), kind="stable")


def _axes(grid: tuple[int, ...]) -> np.ndarray:
    """Return `(R, N)` integer coordinates of the tokens in raster order."""
    return np.stack([axis.reshape(-1) for axis in np.indices(grid)])


def _bits(grid: tuple[int, ...]) -> int:
    return max(1, int(max(grid) - 1).bit_length())


def _interleave(x: np.ndarray, bits: int) -> np.ndarray:
    """Return one integer per token from the bits of its coordinates, the first axis most significant."""
    key = np.zeros_like(x[0])
    for bit in reversed(range(bits)):
        for axis in x:
            key = key << 1 | axis >> bit & 1
    return key


_CURVES: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
    "raster": _raster,
    "transposed": _transposed,
    "z": _z,
    "hilbert": _hilbert,
}
