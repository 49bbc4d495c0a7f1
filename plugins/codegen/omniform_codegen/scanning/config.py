"""Options of the task `scan`, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omniform.configuration import check_choices, option, read_shares, split_names
from omniform.errors import ConfigError

__all__ = ["MetricName", "ScanConfig"]

MetricName = Literal["f1", "macro_f1", "average_precision", "type_accuracy", "recall_at_1"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanConfig:
    """Options of the task `scan`.

    `types` is found in the data when absent; `Scan.resolve` writes down what was found.

    Raises:
        ConfigError: a value is out of range.
    """

    metric: MetricName = option("f1", "the score by which weights are kept and models are compared")
    split: str = option("0.7,0.1,0.2", "train, validation, test as shares, for the parts that the data does not name")
    split_seed: int = option(0, "seed of the draw that splits snippets, and of the sample's")
    snippets: int = option(8000, "how many snippets the sample has")
    types: str | None = option(None, "the types of weakness, separated by commas (found in the data by default)")
    context: int = option(80, "tokens that the network sees: of the last statement and of those that matter to it")
    buckets: int = option(1024, "rows of the embedding that tokens are hashed into")
    rules: bool = option(True, "let the network see which of the rules a snippet breaks; it learns what they are worth")
    dropout: float = option(0.1, "share of activations dropped in training")

    def __post_init__(self) -> None:
        check_choices(self, {"metric": MetricName})
        for name, least in (("split_seed", 0), ("snippets", 400), ("context", 16), ("buckets", 64)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")
        if self.types is not None and len(set(split_names(self.types))) < len(split_names(self.types) or ("", "")):
            raise ConfigError(f"expected different types of weakness, separated by commas, got {self.types!r}")
        self.shares()

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of training, validation and test.

        Raises:
            ConfigError: they are not three positive numbers of sum 1.
        """
        return read_shares(self.split)
