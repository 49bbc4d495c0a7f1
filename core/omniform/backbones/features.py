"""What a backbone returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from omniform.channel.base import Aux
from omniform.layout import Layout

__all__ = ["Features"]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Token tensors from fine to coarse with their layouts, and auxiliary losses summed over layers."""

    levels: tuple[Tensor, ...]
    layouts: tuple[Layout, ...]
    aux: Aux = field(default_factory=dict)

    @property
    def last(self) -> Tensor:
        """The coarsest level, the only one of a sequence backbone."""
        return self.levels[-1]
