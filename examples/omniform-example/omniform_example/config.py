"""The options of the task; `omniform echo train --help` shows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from omniform.errors import ConfigError

__all__ = ["RecallConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallConfig:
    """Options of `recall`. `length` is inferred from the data when absent; `Recall.resolve` writes it down.

    Raises:
        ConfigError: the delay is not positive.
    """

    delay: int = field(default=2, metadata={"help": "how many steps ago the bit came"})
    length: int | None = field(default=None, metadata={"help": "bits in a sequence (from the data by default)"})

    def __post_init__(self) -> None:
        if self.delay < 1:
            raise ConfigError(f"expected a delay of at least 1, got {self.delay}")
