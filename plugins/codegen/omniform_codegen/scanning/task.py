"""The task `scan`: say which weakness the statement at the cursor brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omniform.classification import Predictions
from omniform.configuration import join_names
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.data import classes_of_config, read_snippets, scanned, types_of
from omniform_codegen.scanning.floors import floors_of
from omniform_codegen.scanning.metrics import metrics_of, score
from omniform_codegen.scanning.output import write_predictions
from omniform_codegen.scanning.snippets import Snippets
from omniform_codegen.scanning.splitting import split_snippets

__all__ = ["Scan"]


class Scan:
    """Find weaknesses while code is being typed; implements `omniform.task.Task`."""

    name = "scan"
    config = ScanConfig

    def metrics(self, config: ScanConfig) -> tuple[Metric, ...]:
        return metrics_of(config.metric)

    def read(self, source: str | Path, config: ScanConfig) -> Snippets:
        return read_snippets(source, config)

    def fingerprint(self, data: Snippets) -> str:
        return data.fingerprint()

    def resolve(self, data: Snippets, config: ScanConfig) -> ScanConfig:
        return config if config.types is not None else replace(config, types=join_names(types_of(data)))

    def split(self, data: Snippets, config: ScanConfig) -> Splits[Snippets]:
        return split_snippets(data, config)

    def floors(self, config: ScanConfig) -> Sequence[Floor]:
        return floors_of(classes_of_config(config)[1:])

    def network(self, splits: Splits[Snippets], config: ScanConfig, mixer: str) -> Network:
        from omniform_codegen.scanning.network import scan_network

        return scan_network(config, mixer)

    def predictor_items(self, source: str | Path, config: ScanConfig) -> Snippets:
        """Read files, statement by statement, or snippets without labels."""
        return scanned(source, config)

    def score(self, predictions: Predictions[Snippets], items: Snippets, config: ScanConfig) -> Scores:
        return score(predictions, items)

    def write(self, predictions: Predictions[Snippets], path: Path) -> None:
        write_predictions(predictions, path)

    def figures(
        self, predictions: Mapping[str, Predictions[Snippets]], items: Snippets, config: ScanConfig
    ) -> Iterable[NamedFigure]:
        from omniform_codegen.scanning.figures import scan_figures

        return scan_figures(predictions, items)
