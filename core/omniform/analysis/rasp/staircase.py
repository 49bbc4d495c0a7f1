"""Tables as perceptrons: every combination of values is a point on a line, and what follows is a staircase over it.

Shapes: D channels, U hidden units, two for each step, W channels written.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from omniform.analysis.rasp.plan import Lookup, Space

__all__ = ["Staircase", "make_staircase"]

_SHARPNESS = 200.0
"""A step's corners are 1/4 from any point: 50 widths of GELU's bend, which is then nought or the identity."""


@dataclass(frozen=True, slots=True, eq=False)
class Staircase:
    """The weights of a perceptron `down gelu(up x + bias)`: `up` (U, D), `bias` (U,), `down` (D, U)."""

    up: Tensor
    bias: Tensor
    down: Tensor


def make_staircase(lookup: Lookup, width: int) -> Staircase:
    r"""Return a perceptron that writes what a table says, and nothing at the sink.

    With :math:`z` a token's place on the line, :math:`t` a step's and :math:`s` the sharpness, the step is

    .. math::
        2 \left(\operatorname{relu}(z - t + \tfrac14) - \operatorname{relu}(z - t - \tfrac14)\right),
        \qquad \operatorname{relu}(x) = \operatorname{gelu}(s x) / s

    which is 0 or 1 at every point, as points are at least 1 apart. The first step lies between the sink, far to the
    left, and the first point.
    """
    read, offset, scales = _line(lookup.given, width)
    points = [
        (offset + sum(scale[value] for scale, value in zip(scales, values, strict=True)), result)
        for values, result in lookup.table.items()
    ]
    thresholds, rises = _steps(sorted(points, key=lambda point: point[0]), lookup.target)
    corners = torch.stack([thresholds - 0.25, thresholds + 0.25], dim=1).flatten()  # (U,)
    down = read.new_zeros(width, len(corners))
    start = lookup.target.start
    down[start : start + lookup.target.width] = torch.stack([rises, -rises], dim=-1).flatten(1) * 2 / _SHARPNESS
    return Staircase(_SHARPNESS * read.expand(len(corners), -1), _SHARPNESS * (offset - corners), down)


def _line(given: tuple[Space, ...], width: int) -> tuple[Tensor, float, list[dict[Any, float]]]:
    """Return the direction (D,) of the line, its offset, and how far each value of each variable reaches along it.

    Variables are the digits of a number: the next one's step is longer than all that those before it can reach.
    """
    read, offset, stride, scales = torch.zeros(width, dtype=torch.float64), 0.0, 1.0, []
    for space in given:
        if space.numerical:
            unit = stride / float(min((b - a for a, b in pairwise(space.values)), default=1))
            scale = {value: unit * float(value) for value in space.values}
            read[space.start] = unit
            offset -= scale[space.values[0]]
        else:
            scale = {value: stride * index for index, value in enumerate(space.values)}
            read[space.start : space.start + space.width] = torch.tensor(list(scale.values()))
        scales.append(scale)
        stride += scale[space.values[-1]] - scale[space.values[0]]
    read[0] = -2 * stride
    return read, offset, scales


def _steps(points: list[tuple[float, Any]], target: Space) -> tuple[Tensor, Tensor]:
    """Return where the staircase rises, `(U / 2,)`, and by how much, `(W, U / 2)`: midway between unlike points."""
    thresholds, rises = [points[0][0] - 0.5], [torch.tensor(target.encode(points[0][1]))]
    for (left, before), (right, after) in pairwise(points):
        if before != after:
            thresholds.append((left + right) / 2)
            rises.append(torch.tensor(target.encode(after)) - torch.tensor(target.encode(before)))
    return torch.tensor(thresholds, dtype=torch.float64), torch.stack(rises, dim=1).double()
