"""Fit a mixer to the tokens at hand; all lifting happens here, so that a comparison knows what it ran."""

from __future__ import annotations

from math import prod

from omniform.errors import IncompatibleError
from omniform.layout import AxisKind
from omniform.mixers.base import Mixer
from omniform.mixers.scan import BOTH_WAYS, CROSS, Scan

__all__ = ["adapt"]


def adapt(
    cls: type[Mixer], dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...] = (), causal: bool = False
) -> Mixer:
    """Build a mixer of this class for tokens that lie so, lifted where its traits fall short.

    - A mixer that takes the grid and its axes as they are is built as it is.
    - One that is always causal is scanned both ways (rank 1) or in four directions (grids) where causality is not asked
      for.
    - One of lower rank runs along the flattened grid; where an axis is a set or a circle that it does not honour, the
      index is taken as an order. `describe()` of the result says each of these.

    Raises:
        IncompatibleError: if causality is asked of a mixer that has none, or of a grid or an unordered axis.
    """
    axes = axes or ("ordered",) * len(grid)
    traits = cls.traits
    honoured = set(axes) <= set(traits.axes)
    if causal:
        if len(grid) > 1 or "ordered" not in axes:
            raise IncompatibleError(f"causality needs one ordered axis, got the grid {grid} with axes {axes}")
        return cls.make(dim, grid=grid, axes=axes, causal=True)
    if honoured and len(grid) in traits.ranks and traits.causal != "always":
        return cls.make(dim, grid=grid, axes=axes, causal=False)
    one_way = traits.causal == "always"
    around = BOTH_WAYS if len(grid) == 1 else CROSS

    def make(width: int) -> Mixer:
        return cls.make(width, grid=(prod(grid),), axes=("ordered",), causal=one_way)

    return Scan(dim, make, orders=around if one_way else ("raster",), impose_order=set(axes) != {"ordered"})
