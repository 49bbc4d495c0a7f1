"""What a training run has reached, apart from weights and optimiser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from omniform.errors import RunError

__all__ = ["Record", "State"]


@dataclass(frozen=True, slots=True)
class Record:
    """One kept point of the training history; `validation` is `None` between validations."""

    step: int
    loss: float
    learning_rate: float
    validation: float | None = None


@dataclass(slots=True, kw_only=True)
class State:
    """Progress that a checkpoint carries.

    Attributes:
        step: optimiser steps done.
        seconds, cpu_seconds: used so far.
        precision: the number format, chosen once.
        best: the best validation score, and `best_weights` the weights that had it.
        waited: validations since then.
        stopped: why training ended; `None` while it goes on.
    """

    precision: Literal["32", "bf16"]
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: float | None = None
    best_weights: dict[str, Tensor] | None = None
    waited: int = 0
    stopped: Literal["budget", "patience"] | None = None
    history: list[Record] = field(default_factory=list)

    def as_tree(self) -> dict[str, Any]:
        """Return plain values and tensors."""
        tree = {name: getattr(self, name) for name in self.__slots__}
        tree["history"] = [(r.step, r.loss, r.learning_rate, r.validation) for r in self.history]
        return tree

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> State:
        """Undo `as_tree`.

        Raises:
            RunError: the tree is that of another version.
        """
        try:
            return cls(**{**tree, "history": [Record(*row) for row in tree["history"]]})
        except (TypeError, KeyError) as error:
            raise RunError(
                f"expected the progress of a training run in the checkpoint, got other fields ({error!r}); "
                "it was written by another version: resume with that one, or train again"
            ) from None
