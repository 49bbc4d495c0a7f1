"""Orders of the tokens of a grid that follow its axes."""

from dataclasses import dataclass

__all__ = ["Order", "cross_orders"]


@dataclass(frozen=True, slots=True)
class Order:
    """Walk a grid along its axes.

    Attributes:
        axes: the grid's axes, from the one that changes slowest to the one that changes fastest: (0, 1) walks an image
            row by row, (1, 0) column by column.
        reverse: begin with the last token.

    Raises:
        ValueError: the axes are not 0, 1, ... in some order.
    """

    axes: tuple[int, ...]
    reverse: bool = False

    def __post_init__(self) -> None:
        if sorted(self.axes) != list(range(len(self.axes))) or not self.axes:
            raise ValueError(f"expected each axis of the grid once, such as (1, 0); got axes {self.axes}")


def cross_orders(rank: int) -> tuple[Order, ...]:
    """Return orders in which each axis is once the fastest, and then their reverses: 2 `rank` in all.

    For images these are the four of VMamba's cross-scan in its sequence (arXiv 2401.10166), for volumes the three
    orientations of SegMamba (arXiv 2401.13560), both ways.
    """
    axes = [(*range(first, rank), *range(first)) for first in range(rank)]
    return tuple(Order(each, reverse) for reverse in (False, True) for each in axes)
