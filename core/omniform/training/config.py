"""How a network is trained, apart from how long: optimiser, schedule, precision and devices.

Importing this module imports no torch, so that the command line derives its options from it quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from omniform.errors import ConfigError

if TYPE_CHECKING:
    from omniform.task import Network

__all__ = ["DEFAULT_BATCH_SIZE", "DEFAULT_LEARNING_RATE", "Training"]

DEFAULT_BATCH_SIZE = 32
"""What `batch_size=None` means where the task has no size of its own."""

DEFAULT_LEARNING_RATE = 1e-3
"""What `learning_rate=None` means to `fit`; a comparison tries a grid instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Settings of a training run; how long it lasts is the `Budget`.

    Shares are shares of the budget, so that the same settings serve a budget of steps and one of time.

    Raises:
        ConfigError: a value is out of its range.
    """

    learning_rate: float | None = field(
        default=None,
        metadata={"help": "peak learning rate; the task's, or 0.001, if not given (compare: a small grid)"},
    )
    batch_size: int | None = field(
        default=None,
        metadata={"help": "items in a batch, over all devices together; the task's, or 32, if not given"},
    )
    weight_decay: float = field(
        default=0.01, metadata={"help": "AdamW weight decay; biases, norms and other 1-D parameters have none"}
    )
    warmup: float = field(default=0.05, metadata={"help": "share of the budget with a rising learning rate"})
    clip: float = field(default=1.0, metadata={"help": "largest norm of the gradient; 0 leaves it unclipped"})
    patience: int = field(
        default=0, metadata={"help": "stop after so many validations without improvement; 0 spends the whole budget"}
    )
    validate_every: float = field(default=0.1, metadata={"help": "share of the budget between two validations"})
    precision: Literal["auto", "32", "bf16"] = field(
        default="auto", metadata={"help": "number format; auto measures once which is faster on this machine"}
    )
    device: Literal["auto", "cpu", "cuda"] = field(
        default="auto", metadata={"help": "where to train; auto takes a GPU if there is one"}
    )
    devices: int = field(default=1, metadata={"help": "number of GPUs, or of processes on a CPU"})

    def __post_init__(self) -> None:
        _check("learning_rate", self.learning_rate, self.learning_rate is None or _positive(self.learning_rate), "> 0")
        _check("batch_size", self.batch_size, self.batch_items >= 1, ">= 1")
        _check("weight_decay", self.weight_decay, self.weight_decay == 0 or _positive(self.weight_decay), ">= 0")
        _check("warmup", self.warmup, 0 <= self.warmup < 1, "in [0, 1)")
        _check("clip", self.clip, self.clip == 0 or _positive(self.clip), ">= 0")
        _check("patience", self.patience, self.patience >= 0, ">= 0")
        _check("validate_every", self.validate_every, 0 < self.validate_every <= 1, "in (0, 1]")
        _check("precision", self.precision, self.precision in ("auto", "32", "bf16"), "auto, 32 or bf16")
        _check("device", self.device, self.device in ("auto", "cpu", "cuda"), "auto, cpu or cuda")
        _check("devices", self.devices, self.devices >= 1, ">= 1")
        if self.batch_items % self.devices:
            raise ConfigError(
                f"expected a batch_size that {self.devices} devices share evenly, got {self.batch_items}; "
                f"try {math.ceil(self.batch_items / self.devices) * self.devices}"
            )

    @property
    def peak_rate(self) -> float:
        """The peak learning rate, the default one filled in."""
        return DEFAULT_LEARNING_RATE if self.learning_rate is None else self.learning_rate

    @property
    def batch_items(self) -> int:
        """The number of items in a batch, the default one filled in."""
        return DEFAULT_BATCH_SIZE if self.batch_size is None else self.batch_size

    def for_network(self, network: Network) -> Training:
        """Return the settings with the network's own in place of what is not given."""
        rate = network.learning_rate if self.learning_rate is None else self.learning_rate
        return replace(self, batch_size=self.batch_size or network.batch_size, learning_rate=rate)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _check(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"expected {name} {expected}, got {value}")
