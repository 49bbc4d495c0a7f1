"""Thin-plate splines, sampling on a warped grid, and putting the samples back.

Shapes: B batch, `*grid` of rank R (2 or 3), N its voxels, M control points, D channels.

Places are in voxels: p is the centre of the voxel p. Control points lie in the frame in which each axis of the grid
runs from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["control_points", "restore", "spline_basis", "voxel_places", "warp"]

_VISITED = 1e-2  # weight below which a voxel counts as passed by: a quotient of less would have wild gradients


def control_points(number: int, rank: int) -> Tensor:
    """Return a regular grid of `number` points along each axis, from -1 to 1: `(number^rank, rank)` float64."""
    line = torch.linspace(-1, 1, number, dtype=torch.float64)
    return torch.cartesian_prod(*(line,) * rank).reshape(-1, rank)


def spline_basis(points: Tensor, places: Tensor) -> Tensor:
    r"""Return the matrix `(N, M)` that takes values at control points to values of their thin-plate spline at places.

    .. math::
        f(p) = a_0 + a \cdot p + \sum_m w_m \phi(|p - c_m|), \quad f(c_m) = d_m, \quad
        \sum_m w_m = 0, \; \sum_m w_m c_m = 0

    with `r^2 log r` as the kernel in the plane and `r` in space (Bookstein 1989; Duchon 1977). The spline is linear in
    the values, so one matrix, which depends on the two sets of places alone, holds all of it.

    Args:
        points: `(M, R)`, not all on one line or plane.
        places: `(N, R)`.
    """
    count, rank = points.shape
    system = points.new_zeros(count + rank + 1, count + rank + 1)
    system[:count] = _terms(points, points)
    system[count:, :count] = _affine(points).T
    coefficients = torch.linalg.inv(system)[:, :count]  # (M + R + 1, M): of the unit values
    return _terms(points, places) @ coefficients


def voxel_places(grid: Sequence[int], like: Tensor) -> Tensor:
    """Return the indices of all voxels in raster order, `(N, R)`, in the dtype and on the device of `like`."""
    lines = (torch.arange(n, device=like.device, dtype=like.dtype) for n in grid)
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).reshape(-1, len(grid))


def warp(x: Tensor, places: Tensor) -> Tensor:
    """Sample `x` `(B, *grid, D)` at places `(B, N, R)` by multilinear interpolation: `(B, *grid, D)`.

    Places outside take the value of the nearest border. Where the place is a voxel, its value comes out to the bit.
    Sums are in the dtype of the places.
    """
    grid, tokens = x.shape[1:-1], x.flatten(1, -2).to(places.dtype)  # (B, N, D)
    sampled = sum(weight[..., None] * _gather(tokens, index) for index, weight in _corners(places, grid))
    assert isinstance(sampled, Tensor)
    return sampled.unflatten(1, grid).to(x.dtype)


def restore(y: Tensor, places: Tensor) -> Tensor:
    """Put samples `y` `(B, *grid, D)` back to the places `(B, N, R)` they were taken from: `(B, *grid, D)`.

    Every sample is shared among the voxels around its place by the weights with which it was interpolated; a voxel
    takes the weighted mean of what it got. One that got next to nothing is filled from its surroundings: means over
    ever larger blocks, the smallest that got something, interpolated linearly.
    Sums are in the dtype of the places.
    """
    grid, tokens = y.shape[1:-1], y.flatten(1, -2).to(places.dtype)
    total = torch.zeros_like(tokens)
    weights = tokens.new_zeros(*tokens.shape[:2], 1)
    for index, weight in _corners(places, grid):
        index, weight = index[..., None], weight[..., None]
        total = total.scatter_add(1, index.expand_as(tokens), weight * tokens)
        weights = weights.scatter_add(1, index, weight)
    total, weights = (part.unflatten(1, grid).movedim(-1, 1) for part in (total, weights))  # (B, D or 1, *grid)
    return _filled(total, weights).movedim(1, -1).to(y.dtype)


def _affine(places: Tensor) -> Tensor:
    return torch.cat([places.new_ones(len(places), 1), places], dim=1)  # (N, R + 1)


def _terms(points: Tensor, places: Tensor) -> Tensor:
    """Return kernel and affine terms of the spline at places, `(N, M + R + 1)`."""
    squared = (places[:, None] - points).square().sum(-1)  # (N, M)
    kernel = 0.5 * torch.xlogy(squared, squared) if points.shape[1] == 2 else squared.sqrt()
    return torch.cat([kernel, _affine(places)], dim=1)


def _corners(places: Tensor, grid: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Return, for each of the `2^R` voxels around every place, its raster index `(B, N)` int64 and its weight."""
    last = torch.tensor([n - 1 for n in grid], device=places.device, dtype=places.dtype)
    inside = torch.minimum(places.clamp(min=0), last)
    low = torch.minimum(inside.detach().floor(), (last - 1).clamp(min=0))
    share = inside - low  # (B, N, R), of the upper neighbour
    steps = [1]
    for n in reversed(grid[1:]):
        steps.insert(0, steps[0] * n)
    found = []
    for corner in product((0, 1), repeat=len(grid)):
        index, weight = torch.zeros_like(low[..., 0], dtype=torch.int64), torch.ones_like(share[..., 0])
        for axis, upper in enumerate(corner):
            place = (low[..., axis].long() + upper).clamp(max=grid[axis] - 1)
            index = index + place * steps[axis]
            weight = weight * (share[..., axis] if upper else 1 - share[..., axis])
        found.append((index, weight))
    return found


def _gather(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def _filled(total: Tensor, weights: Tensor) -> Tensor:
    """Return `total / weights`, and what coarser blocks hold where there is next to no weight."""
    visited = weights > _VISITED
    mean = total / weights.where(visited, torch.ones_like(weights))
    grid = total.shape[2:]
    if max(grid) == 1:  # the mean of everything
        return mean
    pool, mode = (F.avg_pool2d, "bilinear") if len(grid) == 2 else (F.avg_pool3d, "trilinear")
    block = [min(2, n) for n in grid]
    coarse = _filled(*(pool(part, block, ceil_mode=True) for part in (total, weights)))
    return mean.where(visited, F.interpolate(coarse, grid, mode=mode))
