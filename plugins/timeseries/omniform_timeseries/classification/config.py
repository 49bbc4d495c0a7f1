"""What a classification depends on, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from omniform.configuration import read_shares, split_names
from omniform.errors import ConfigError

__all__ = ["ClassifyConfig"]


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyConfig:
    """Options of the task `classify`.

    `classes`, `channels`, `length`, `patch` and `shape` are inferred from the data when absent; `Classify.resolve`
    writes down what was inferred.

    Raises:
        ConfigError: a value is out of range.
    """

    metric: Literal["accuracy", "balanced_accuracy", "log_loss"] = _option(
        "accuracy", "the score by which weights are kept and models are compared"
    )
    split: str = _option(
        "0.7,0.1,0.2",
        "train, validation, test as shares of every class; of an official training file, train and validation alone",
    )
    split_seed: int = _option(0, "seed of the draw that splits the cases")
    channels: str | None = _option(None, "the channels to read, separated by commas (all by default)")
    classes: str | None = _option(None, "the classes, separated by commas (found in the data by default)")
    length: int | None = _option(
        None, "rows that a network sees; longer cases are interpolated down (by default the longest, 1024 at most)"
    )
    align: Literal["pad", "stretch"] = _option(
        "pad", "shorter cases: pad and mask, or stretch all to one length (for mixers that refuse padding)"
    )
    model: Literal["patch", "vsformer"] = _option("patch", "the network around the mixer")
    patch: int | None = _option(None, "patch: rows between patches, which are three times as long (by default 64 fit)")
    shape: int | None = _option(None, "vsformer: rows in a shape (by default a fifth of the length, 3 at least)")
    shapes: int = _option(32, "vsformer: shapes to find in the training cases")
    intervals: int = _option(128, "vsformer: intervals of a channel whose values are summed up")
    dropout: float = _option(0.1, "share of activations dropped in training")
    kernels: int = _option(2000, "random convolutional kernels of the rocket floor")

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            allowed = get_args(hint)
            if allowed and isinstance(allowed[0], str) and getattr(self, name) not in allowed:
                raise ConfigError(f"expected {name} to be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("length", "patch", "shape", "shapes", "intervals", "kernels"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"expected {name} to be a whole number of at least 1, got {value!r}")
        if not isinstance(self.split_seed, int) or self.split_seed < 0:
            raise ConfigError(f"expected split_seed to be a whole number of at least 0, got {self.split_seed!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")
        for name in ("channels", "classes"):
            given = getattr(self, name)
            if given is not None and (not all(split_names(given) or ("",)) or _repeats(split_names(given))):
                raise ConfigError(f"expected different names in {name}, separated by commas, got {given!r}")
        self.shares()

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of training, validation and test.

        Raises:
            ConfigError: they are not three positive numbers of sum 1.
        """
        return read_shares(self.split)


def _repeats(names: tuple[str, ...]) -> bool:
    return len(set(names)) < len(names)
