"""Options of the task `classify`, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from omniform.configuration import check_choices, option, read_shares, split_names
from omniform.errors import ConfigError

__all__ = ["ClassifyConfig", "MetricName", "ModelName"]

ModelName = Literal["pyramid", "dct-histotransformer", "duoformer", "fetal-plane"]
MetricName = Literal["accuracy", "top2_accuracy", "macro_f1", "auroc", "log_loss"]
Flip = Literal["none", "x", "y", "xy"]
ClassWeights = Literal["none", "balanced"]

_LEAST, _MOST = 8, 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyConfig:
    """Options of the task `classify`.

    `classes`, `image` and `channels` are inferred from the data when absent; `Classify.resolve` writes down what was
    inferred.

    Raises:
        ConfigError: a value is out of range.
    """

    metric: MetricName = option("accuracy", "the score by which weights are kept and models are compared")
    split: str = option("0.7,0.1,0.2", "train, validation, test as shares, for the parts that the data does not name")
    split_seed: int = option(0, "seed of the draw that splits the pictures")
    group: str = option("", "a regular expression whose match in a file's name is the patient; one patient, one part")
    classes: str | None = option(None, "the classes, separated by commas (found in the data by default)")
    image: tuple[int, ...] = option((), "height,width that a network sees (by default the usual one, 64 at most)")
    channels: int | None = option(None, "1 reads pictures as grey, 3 as colour (by default grey if all of them are)")
    model: ModelName = option("pyramid", "the network around the mixer")
    keep: float = option(0.5, "dct-histotransformer: share of the frequencies that are kept along each axis")
    flip: Flip = option("none", "axes along which training mirrors at random; only where a mirrored class stays itself")
    shift: float = option(0.05, "share of the picture by which training shifts it at most")
    brightness: float = option(0.1, "how far training varies brightness and contrast, in deviations of the data")
    class_weights: ClassWeights = option("none", "balanced weighs a class in the loss by one over its share")
    dropout: float = option(0.1, "share of activations dropped in training")

    def __post_init__(self) -> None:
        choices = {"metric": MetricName, "model": ModelName, "flip": Flip, "class_weights": ClassWeights}
        check_choices(self, choices)
        if self.image and (len(self.image) != 2 or not all(_LEAST <= n <= _MOST for n in self.image)):
            raise ConfigError(f"expected image as height,width from {_LEAST} to {_MOST}, got {self.image}")
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"expected 1 channel (grey) or 3 (colour), got {self.channels}")
        if self.split_seed < 0:
            raise ConfigError(f"expected split_seed to be a whole number of at least 0, got {self.split_seed}")
        if not 0 < self.keep <= 1:
            raise ConfigError(f"expected keep above 0 and at most 1, got {self.keep}")
        for name, most in (("shift", 0.5), ("brightness", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"expected {name} from 0 to {most}, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")
        self._check_classes()
        self.pattern()
        self.shares()

    def pattern(self) -> re.Pattern[str] | None:
        """Return `group` compiled, `None` if there is none.

        Raises:
            ConfigError: it is no regular expression.
        """
        try:
            return re.compile(self.group) if self.group else None
        except re.error as error:
            raise ConfigError(f"expected group as a regular expression, got {self.group!r}: {error}") from None

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of training, validation and test.

        Raises:
            ConfigError: they are not three positive numbers of sum 1.
        """
        return read_shares(self.split)

    def _check_classes(self) -> None:
        if self.classes is None:
            return
        names = split_names(self.classes)
        if len(names) < 2 or not all(names) or len(set(names)) < len(names):
            raise ConfigError(f"expected at least two different classes, separated by commas, got {self.classes!r}")
