"""Which part of a network an adaptation trains. Imports no torch: command lines read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omniform.configuration import check_choices, option
from omniform.errors import ConfigError

__all__ = ["Adaptation", "Method"]

Method = Literal["full", "adapter", "prefix", "bias", "embeddings", "last-layer"]
"""What is trained: all; low-rank updates; a start state for each mixer; biases; token vectors and softmax; a layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adaptation:
    """The method and its sizes; a method reads those that are its own.

    Raises:
        ConfigError: a value is out of range.
    """

    method: Method = option("adapter", "what is trained: full, adapter, prefix, bias, embeddings or last-layer")
    rank: int = option(8, "rank of an adapter's updates")
    alpha: float = option(16.0, "an adapter's updates are scaled by this over their rank")
    dropout: float = option(0.0, "share of an adapter's inputs that are dropped in training")
    targets: tuple[str, ...] = option((), "ends of the names of the linear maps that get an adapter; all if empty")
    prefix_length: int = option(16, "tokens of a prefix")

    def __post_init__(self) -> None:
        check_choices(self, {"method": Method})
        if self.rank < 1:
            raise ConfigError(f"expected a rank of at least 1, got {self.rank}")
        if not self.alpha > 0:
            raise ConfigError(f"expected an alpha above 0, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")
        if self.prefix_length < 0:
            raise ConfigError(f"expected a prefix_length of at least 0, got {self.prefix_length}")
