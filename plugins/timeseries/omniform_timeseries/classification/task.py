"""The task `classify`: say to which class a whole series belongs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omniform.classification import Predictions
from omniform.configuration import join_names
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_timeseries.classification.collection import Collection
from omniform_timeseries.classification.config import ClassifyConfig
from omniform_timeseries.classification.data import read_collection
from omniform_timeseries.classification.metrics import metrics_of, score
from omniform_timeseries.classification.nearest import Nearest
from omniform_timeseries.classification.output import write_predictions
from omniform_timeseries.classification.rocket import Rocket
from omniform_timeseries.classification.splitting import classes_of, split_collection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Classify"]

_MOST_ROWS = 1024
_MOST_PATCHES = 64


class Classify:
    """Classify multichannel series of any length; implements `omniform.task.Task`."""

    name = "classify"
    config = ClassifyConfig

    def metrics(self, config: ClassifyConfig) -> tuple[Metric, ...]:
        return metrics_of(config.metric)

    def read(self, source: str | Path | pd.DataFrame, config: ClassifyConfig) -> Collection:
        return read_collection(source, config)

    def fingerprint(self, data: Collection) -> str:
        return data.fingerprint()

    def resolve(self, data: Collection, config: ClassifyConfig) -> ClassifyConfig:
        length = config.length or min(int(data.lengths.max()), _MOST_ROWS)
        return replace(
            config,
            classes=config.classes or join_names(classes_of(data)),
            channels=join_names(data.channels),
            length=length,
            patch=config.patch or -(-length // _MOST_PATCHES),
            shape=min(config.shape or max(3, length // 5), length),
        )

    def split(self, data: Collection, config: ClassifyConfig) -> Splits[Collection]:
        return split_collection(data, config)

    def floors(self, config: ClassifyConfig) -> Sequence[Floor]:
        return (
            Floor(
                name="rocket",
                summary="random convolutions and a ridge classifier",
                estimator=Rocket(config.kernels),
            ),
            Floor(name="nearest", summary="the nearest case under dynamic time warping", estimator=Nearest()),
        )

    def network(self, splits: Splits[Collection], config: ClassifyConfig, mixer: str) -> Network:
        from omniform_timeseries.classification.network import classify_network

        return classify_network(config, mixer)

    def predictor_items(self, source: str | Path | pd.DataFrame, config: ClassifyConfig) -> Collection:
        """Read cases to classify, with labels or without; of a folder with an official split, those of the test."""
        cases = read_collection(source, config, labelled=False)
        return cases.take(cases.held_out.nonzero()[0]) if cases.held_out.any() else cases

    def score(self, predictions: Predictions, items: Collection, config: ClassifyConfig) -> Scores:
        return score(predictions, items)

    def write(self, predictions: Predictions, path: Path) -> None:
        write_predictions(predictions, path)

    def figures(
        self, predictions: Mapping[str, Predictions], items: Collection, config: ClassifyConfig
    ) -> Iterable[NamedFigure]:
        from omniform_timeseries.classification.figures import classification_figures

        return classification_figures(predictions, items)
