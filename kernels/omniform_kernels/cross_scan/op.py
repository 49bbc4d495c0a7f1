"""The public face of the cross-scan: plain torch, on any device, differentiable as often as wanted.

B batch   R axes of the grid   L tokens of the grid   K orders   C channels
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.cross_scan.order import Order, cross_orders

__all__ = ["cross_merge", "cross_scan", "merge_rows", "rows"]


def cross_scan(x: Tensor, orders: Sequence[Order] | None = None) -> Tensor:
    """Lay the tokens of a grid out along several orders.

    Args:
        x: the grid, (B, *grid, C).
        orders: the orders; `cross_orders(R)` if None.

    Returns:
        The sequences, (B, K, L, C). Each is written out; `rows` gives them with at most one copy for an order and its
        reverse, to whoever can scan from the end.

    Raises:
        ShapeError: x has no grid, or an order has another number of axes.
    """
    orders = _check(tuple(x.shape[1:-1]), orders)
    pairs = zip(rows(x, orders), orders, strict=True)
    return torch.stack([sequence.flip(1) if order.reverse else sequence for sequence, order in pairs], dim=1)


def cross_merge(y: Tensor, grid: tuple[int, ...], orders: Sequence[Order] | None = None) -> Tensor:
    """Bring sequences back to the grid's own order and add them up: the adjoint of `cross_scan`.

    Args:
        y: the sequences, (B, K, L, C).
        grid: the sizes of the grid's axes.
        orders: the orders of the sequences; `cross_orders(R)` if None.

    Returns:
        The sum on the grid, (B, *grid, C).

    Raises:
        ShapeError: the sequences do not fit the grid and the orders.
    """
    orders = _check(grid, orders)
    check_shape("y", y, (y.shape[0], len(orders), prod(grid), y.shape[-1]))
    pairs = zip(y.unbind(1), orders, strict=True)
    return merge_rows([sequence.flip(1) if order.reverse else sequence for sequence, order in pairs], grid, orders)


def rows(x: Tensor, orders: Sequence[Order] | None = None) -> list[Tensor]:
    """Return the tokens along each order with the direction left to the scan (`selective_scan(..., reverse=...)`).

    Args:
        x: the grid, (B, *grid, C).
        orders: the orders, whose `reverse` is not followed here; `cross_orders(R)` if None.

    Returns:
        K sequences (B, L, C). Orders with the same axes share one tensor, which for the grid's own order is a view of
        x: the four directions of an image cost one copy, that of its columns.

    Raises:
        ShapeError: x has no grid, or an order has another number of axes.
    """
    orders = _check(tuple(x.shape[1:-1]), orders)
    last = x.ndim - 1
    along = {axes: x.permute(0, *(1 + axis for axis in axes), last) for axes in {order.axes for order in orders}}
    flat = {axes: grid.flatten(1, -2) for axes, grid in along.items()}
    return [flat[order.axes] for order in orders]


def merge_rows(sequences: Sequence[Tensor], grid: tuple[int, ...], orders: Sequence[Order] | None = None) -> Tensor:
    """Add up on the grid what lies as `rows` gives it: its adjoint.

    Args:
        sequences: K times (B, L, C); the directions of the orders do not matter.
        grid: the sizes of the grid's axes.
        orders: the orders of the sequences; `cross_orders(R)` if None.

    Returns:
        The sum on the grid, (B, *grid, C).

    Raises:
        ShapeError: the sequences do not fit the grid and the orders.
    """
    orders = _check(grid, orders)
    if len(sequences) != len(orders):
        raise ShapeError(f"expected a sequence for each of {len(orders)} orders; got {len(sequences)}")
    sums: dict[tuple[int, ...], Tensor] = {}
    for sequence, order in zip(sequences, orders, strict=True):
        check_shape("a sequence", sequence, (sequences[0].shape[0], prod(grid), sequences[0].shape[-1]))
        sums[order.axes] = sums[order.axes] + sequence if order.axes in sums else sequence
    grids = [_restore(sequence, grid, axes) for axes, sequence in sums.items()]
    return sum(grids[1:], grids[0])


def _restore(sequence: Tensor, grid: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    """Return (B, L, C), which walks along `axes`, as a view (B, *grid, C)."""
    along = sequence.unflatten(1, [grid[axis] for axis in axes])
    return along.permute(0, *(1 + axes.index(axis) for axis in range(len(grid))), along.ndim - 1)


def _check(grid: tuple[int, ...], orders: Sequence[Order] | None) -> Sequence[Order]:
    if not grid:
        raise ShapeError("expected a grid with one axis or more between batch and channels; got none")
    orders = cross_orders(len(grid)) if orders is None else orders
    if not orders or any(len(order.axes) != len(grid) for order in orders):
        raise ShapeError(f"expected orders of the {len(grid)} axes of the grid {grid}; got {list(orders)}")
    return orders
