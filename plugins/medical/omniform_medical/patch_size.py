"""How large a patch may be."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod

from omniform.errors import ConfigError
from omniform_medical.plan import MIN_SIZE, Strides, halvings

__all__ = ["plan_patch"]

Shape = tuple[int, int, int]
Lengths = tuple[float, float, float]


def plan_patch(
    median: Shape, spacing: Lengths, *, most: int, cost: Callable[[Shape, Strides], int], limit: int
) -> Shape:
    """Return the median case's shape, rounded up to whole strides and shrunk until training costs no more than a limit.

    Each time the axis that is largest relative to the median case loses as much as its halvings divide it by.

    Args:
        most: halvings at most.
        cost: bytes to train on a patch, given its strides.

    Raises:
        ConfigError: the smallest patch costs more.
    """
    patch = _rounded(median, spacing, most, ceil)
    while cost(patch, halvings(patch, spacing)[:most]) > limit:
        able = [axis for axis in range(3) if patch[axis] > MIN_SIZE]
        if not able:
            raise ConfigError(f"expected --memory for at least a patch of {'x'.join(map(str, patch))}; allow more")
        largest = max(able, key=lambda axis: patch[axis] / median[axis])
        step = _divisors(patch, spacing, most)[largest]
        x, y, z = (size - step if axis == largest else size for axis, size in enumerate(patch))
        patch = _rounded((x, y, z), spacing, most, int)
    return patch


def _rounded(patch: Shape, spacing: Lengths, most: int, to_whole: Callable[[float], int]) -> Shape:
    """Round a patch to multiples of what its halvings divide it by."""
    divisors = _divisors(patch, spacing, most)
    x, y, z = (to_whole(size / divisor) * divisor for size, divisor in zip(patch, divisors, strict=True))
    return x, y, z


def _divisors(patch: Shape, spacing: Lengths, most: int) -> Shape:
    strides = halvings(patch, spacing)[:most]
    x, y, z = (prod(stride[axis] for stride in strides) for axis in range(3))
    return x, y, z
