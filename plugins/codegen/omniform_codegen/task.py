"""The task `complete`: continue code, and fill gaps in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus
from omniform_codegen.filters import LARGEST
from omniform_codegen.floors import floors_of
from omniform_codegen.metrics import metrics_of, score
from omniform_codegen.output import write_predictions
from omniform_codegen.predictions import Predictions
from omniform_codegen.reading import read_corpus, read_files
from omniform_codegen.splitting import split_corpus
from omniform_codegen.tokenizer import is_written, load_tokenizer, train_tokenizer

__all__ = ["Complete"]

_log = logging.getLogger(__name__)


class Complete:
    """Model source code from left to right; implements `omniform.task.Task`."""

    name = "complete"
    config = CompleteConfig

    def metrics(self, config: CompleteConfig) -> tuple[Metric, ...]:
        return metrics_of(config.metric)

    def read(self, source: str | Path, config: CompleteConfig) -> Corpus:
        return read_corpus(source, config)

    def fingerprint(self, data: Corpus) -> str:
        return data.fingerprint()

    def resolve(self, data: Corpus, config: CompleteConfig) -> CompleteConfig:
        """Write down the tokenizer: the one that is named, or one trained on the training files."""
        if is_written(config.tokenizer):
            return config
        if config.tokenizer:
            tokenizer = load_tokenizer(Path(config.tokenizer))
        else:
            tokenizer = train_tokenizer(split_corpus(data, config).train, config.vocabulary)
        return replace(config, tokenizer=tokenizer.to_text(), vocabulary=len(tokenizer))

    def split(self, data: Corpus, config: CompleteConfig) -> Splits[Corpus]:
        return split_corpus(data, config)

    def floors(self, config: CompleteConfig) -> Sequence[Floor]:
        return floors_of(config)

    def network(self, splits: Splits[Corpus], config: CompleteConfig, mixer: str) -> Network:
        from omniform_codegen.network import complete_network

        return complete_network(config, mixer)

    def predictor_items(self, source: str | Path, config: CompleteConfig) -> Corpus:
        """Read sources as they are: what is scored or completed is not filtered, but cut behind a megabyte."""
        files = [found.file for found in read_files(source, config)]
        if long := [file.path for file in files if len(file.content) > LARGEST]:
            _log.warning("only the first %d bytes are read of %s", LARGEST, ", ".join(long))
        return Corpus(tuple(replace(file, content=file.content[:LARGEST]) for file in files))

    def score(self, predictions: Predictions, items: Corpus, config: CompleteConfig) -> Scores:
        return score(predictions, items, config)

    def write(self, predictions: Predictions, path: Path) -> None:
        write_predictions(predictions, path)

    def figures(
        self, predictions: Mapping[str, Predictions], items: Corpus, config: CompleteConfig
    ) -> Iterable[NamedFigure]:
        from omniform_codegen.figures import complete_figures

        return complete_figures(predictions, items)
