"""Options of the task `complete`, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omniform.configuration import check_choices, option, read_shares
from omniform.errors import ConfigError

__all__ = ["Channel", "CompleteConfig", "MetricName"]

Channel = Literal["swiglu", "mlp", "matformer"]
MetricName = Literal["bits_per_byte", "exact_match", "edit_similarity"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CompleteConfig:
    """Options of the task `complete`.

    `tokenizer` is trained on the training files when absent; `Complete.resolve` writes down what was inferred.

    Raises:
        ConfigError: a value is out of range.
    """

    metric: MetricName = option("bits_per_byte", "the score by which weights are kept and models are compared")
    suffixes: str = option(".py", "which files are read, by the ends of their names, separated by commas")
    split: str = option("0.8,0.05,0.15", "train, validation, test as shares of the bytes; packages stay whole")
    split_seed: int = option(0, "seed of the draw that splits the packages")
    group_depth: int = option(1, "how many folders, counted from the top, name a file's package; 0: every file its own")
    licences: str = option("", "keep files of these SPDX licences only, separated by commas; all if empty")
    secrets: Literal["refuse", "drop", "redact", "keep"] = option(
        "redact", "what to do about files with keys, tokens or passwords: redact replaces them by a fixed word"
    )
    generated: bool = option(False, "keep files that say they are generated, and minified ones")
    tokenizer: str = option("", "a run, or a tokenizer.json, to take the tokenizer from; trained if empty")
    vocabulary: int = option(1024, "tokens of a tokenizer that is trained")
    context: int = option(256, "tokens that the network sees")
    infill: float = option(0.5, "share of training windows with the middle moved to the end")
    channel: Channel = option("swiglu", "the channel mixer; matformer nests drafts of itself")
    dropout: float = option(0.0, "share of activations dropped in training")
    spans: int = option(64, "how many gaps in test files are filled in, for exact match and edit similarity")
    validation_bytes: int = option(100_000, "the most bytes of validation files that are scored")
    test_bytes: int = option(400_000, "the most bytes of test files that are scored")

    def __post_init__(self) -> None:
        check_choices(self, {"metric": MetricName, "channel": Channel, "secrets": ("refuse", "drop", "redact", "keep")})
        if self.vocabulary < 262:
            raise ConfigError(
                f"expected a vocabulary of at least 262 (bytes and special tokens), got {self.vocabulary}"
            )
        for name, least in (("context", 16), ("group_depth", 0), ("spans", 1), ("split_seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        for name in ("validation_bytes", "test_bytes"):
            if getattr(self, name) < 1000:
                raise ConfigError(f"expected {name} of at least 1000, got {getattr(self, name)}")
        if not 0 <= self.infill <= 1:
            raise ConfigError(f"expected infill from 0 to 1, got {self.infill}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")
        self.shares()

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of training, validation and test.

        Raises:
            ConfigError: they are not three positive numbers of sum 1.
        """
        return read_shares(self.split)
