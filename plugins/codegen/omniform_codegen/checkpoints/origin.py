"""How tensors of ours come from those of a checkpoint.

Shapes: H heads, d head width, r rotated channels of a head; the rows of a projection are H times d.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

__all__ = ["Origin", "fused", "of_modules", "paired", "plain", "single", "stacked"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one of our tensors comes from.

    Attributes:
        names: of their tensors.
        make: our tensor from theirs.
        shape: that of each of theirs, from that of ours.
    """

    names: tuple[str, ...]
    make: Callable[..., Tensor]
    shape: Callable[[Shape], Shape]

    def leaf(self, name: str) -> Origin:
        """Return the origin of a weight or a bias, given that of its module."""
        return replace(self, names=tuple(f"{module}.{name}" for module in self.names))


def of_modules(model: nn.Module, origins: Mapping[str, Origin]) -> dict[str, Origin]:
    """Return the origins of the parameters of modules: a weight comes from a weight, a bias from a bias."""
    return {
        f"{module}.{leaf}": origin.leaf(leaf)
        for module, origin in origins.items()
        for leaf, _ in model.get_submodule(module).named_parameters(recurse=False)
    }


def plain(name: str) -> Origin:
    """Take a tensor as it is."""
    return Origin((name,), lambda theirs: theirs, lambda shape: shape)


def single(name: str) -> Origin:
    """Take a depthwise convolution `(E, 1, taps)` as `(E, taps)`."""
    return Origin((name,), lambda theirs: theirs.squeeze(1), lambda shape: (shape[0], 1, *shape[1:]))


def stacked(*names: str) -> Origin:
    """Stack the rows of tensors of equal shape."""
    return Origin(names, lambda *theirs: torch.cat(theirs), lambda shape: (shape[0] // len(names), *shape[1:]))


def paired(name: str, head_dim: int, channels: int) -> Origin:
    """Move the rows that are rotated together, halves of r channels apart in theirs, next to each other."""
    return Origin((name,), lambda theirs: _pair(theirs, head_dim, channels), lambda shape: shape)


def fused(name: str, part: int, head_dim: int, channels: int) -> Origin:
    """Take query (0), key (1) or value (2) of rows `(H, 3, d)`; queries and keys are `paired`."""

    def make(theirs: Tensor) -> Tensor:
        rows = theirs.unflatten(0, (-1, 3, head_dim))[:, part].flatten(0, 1)
        return rows if part == 2 else _pair(rows, head_dim, channels)

    return Origin((name,), make, lambda shape: (3 * shape[0], *shape[1:]))


def _pair(rows: Tensor, head_dim: int, channels: int) -> Tensor:
    heads = rows.unflatten(0, (-1, head_dim))  # (H, d, ...)
    halves = heads[:, :channels].unflatten(1, (2, channels // 2))  # (H, 2, r / 2, ...)
    return torch.cat([halves.transpose(1, 2).flatten(1, 2), heads[:, channels:]], dim=1).flatten(0, 1)
