"""Options of the task `recursion`, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omniform.configuration import check_choices, option
from omniform.errors import ConfigError

__all__ = ["FunctionName", "MetricName", "Mode", "RecursionConfig"]

FunctionName = Literal["successor", "preorder", "inorder", "postorder"]
MetricName = Literal["accuracy", "accuracy_deep", "accuracy_shallow", "token_accuracy"]
Mode = Literal["whole", "stepwise"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecursionConfig:
    """Options of the task `recursion`.

    What is `None` is inferred from the data; `Recursion.resolve` writes down what was inferred.

    Raises:
        ConfigError: a value is out of range.
    """

    metric: MetricName = option("accuracy", "the score by which weights are kept and models are compared")
    function: FunctionName | None = option(None, "the function to learn (by default the one that DATA names)")
    mode: Mode = option("whole", "whole asks for the result alone, stepwise for every step that leads to it")
    train_depth: int | None = option(None, "the deepest recursion in training (by default 12 of numbers, 5 of trees)")
    test_depth: int | None = option(None, "the deepest recursion in the test (by default that of training)")
    skew: float = option(0.5, "how much rarer in training a depth is than the one before it; 1 makes all alike")
    reweight: bool = option(
        False, "make every depth as frequent in training as any other; a file's examples are repeated for it"
    )
    deep: int | None = option(
        None, "from which depth an example counts as deep (by default the rarest 5 % of training)"
    )
    tail: int = option(8, "the most constructors behind the one that ends the recursion")
    examples: int = option(4000, "how many training examples are made")
    test_examples: int = option(40, "how many test examples are made of each depth, at most")
    data_seed: int = option(0, "seed of the draws that make and split the examples")
    context: int | None = option(None, "tokens of the longest example (found in the data by default)")
    dropout: float = option(0.0, "share of activations dropped in training")

    def __post_init__(self) -> None:
        check_choices(self, {"metric": MetricName, "mode": Mode})
        if self.function is not None:
            check_choices(self, {"function": FunctionName})
        least = {"train_depth": 1, "test_depth": 1, "deep": 1, "tail": 0, "examples": 10, "test_examples": 1}
        for name, smallest in {**least, "data_seed": 0, "context": 4}.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ConfigError(f"expected {name} of at least {smallest}, got {value}")
        for name in ("train_depth", "test_depth"):
            value = getattr(self, name)
            if value is not None and value > 64:
                raise ConfigError(f"expected {name} of at most 64, got {value}")
        if not 0 < self.skew <= 1:
            raise ConfigError(f"expected skew above 0 and at most 1, got {self.skew}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")
