"""The task `recursion`: emulate a structurally recursive function from examples of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from omniform.errors import ConfigError
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_codegen.recursion.config import FunctionName, RecursionConfig
from omniform_codegen.recursion.data import find_deep, read_examples, split_examples
from omniform_codegen.recursion.examples import Examples
from omniform_codegen.recursion.floors import FLOORS
from omniform_codegen.recursion.metrics import metrics_of, score
from omniform_codegen.recursion.output import write_predictions
from omniform_codegen.recursion.predictions import Predictions

__all__ = ["Recursion"]


class Recursion:
    """Emulate structural recursion, whole or step by step; implements `omniform.task.Task`.

    The test has every depth of recursion equally often, training has deep ones rarely. The interpreter is the ceiling
    of every score, 1; the floors know short-cuts only. Source: arXiv 2401.12947.
    """

    name = "recursion"
    config = RecursionConfig

    def metrics(self, config: RecursionConfig) -> tuple[Metric, ...]:
        return metrics_of(config.metric)

    def read(self, source: str | Path, config: RecursionConfig) -> Examples:
        return read_examples(source, config)

    def fingerprint(self, data: Examples) -> str:
        return data.fingerprint()

    def resolve(self, data: Examples, config: RecursionConfig) -> RecursionConfig:
        from omniform_codegen.recursion.network import sequence_length

        return replace(
            config,
            function=cast(FunctionName, data.function),
            deep=config.deep or find_deep(data, config),
            context=config.context or max(sequence_length(example) for example in data.examples),
        )

    def split(self, data: Examples, config: RecursionConfig) -> Splits[Examples]:
        return split_examples(data, config)

    def floors(self, config: RecursionConfig) -> Sequence[Floor]:
        return FLOORS

    def network(self, splits: Splits[Examples], config: RecursionConfig, mixer: str) -> Network:
        from omniform_codegen.recursion.network import recursion_network

        return recursion_network(config, mixer)

    def predictor_items(self, source: str | Path, config: RecursionConfig) -> Examples:
        """Read the inputs of a `.jsonl`; of generated data, those of the test."""
        data = read_examples(source, config)
        return data.part("test") if all(data.parts) else data

    def score(self, predictions: Predictions, items: Examples, config: RecursionConfig) -> Scores:
        return score(predictions, items, _deep(config))

    def write(self, predictions: Predictions, path: Path) -> None:
        write_predictions(predictions, path)

    def figures(
        self, predictions: Mapping[str, Predictions], items: Examples, config: RecursionConfig
    ) -> Iterable[NamedFigure]:
        from omniform_codegen.recursion.figures import recursion_figures

        return recursion_figures(predictions, items, _deep(config))


def _deep(config: RecursionConfig) -> int:
    if config.deep is None:
        raise ConfigError("expected a config with deep; resolve it with data")
    return config.deep
