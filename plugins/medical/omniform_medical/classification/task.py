"""The task `classify`: say what a picture shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omniform.classification import Predictions
from omniform.configuration import join_names
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_medical.classification.album import Album
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.data import Source, read_album
from omniform_medical.classification.floors import FLOORS
from omniform_medical.classification.metrics import metrics_of, score
from omniform_medical.classification.output import write_predictions
from omniform_medical.classification.splitting import classes_of, split_album

__all__ = ["Classify"]


class Classify:
    """Classify pictures: planes of volumes, slides, ultrasound; implements `omniform.task.Task`."""

    name = "classify"
    config = ClassifyConfig

    def metrics(self, config: ClassifyConfig) -> tuple[Metric, ...]:
        return metrics_of(config.metric)

    def read(self, source: Source, config: ClassifyConfig) -> Album:
        return read_album(source, config)

    def fingerprint(self, data: Album) -> str:
        return data.fingerprint()

    def resolve(self, data: Album, config: ClassifyConfig) -> ClassifyConfig:
        classes = config.classes or join_names(classes_of(data))
        return replace(config, classes=classes, image=data.image, channels=data.channels)

    def split(self, data: Album, config: ClassifyConfig) -> Splits[Album]:
        return split_album(data, config)

    def floors(self, config: ClassifyConfig) -> Sequence[Floor]:
        return FLOORS

    def network(self, splits: Splits[Album], config: ClassifyConfig, mixer: str) -> Network:
        from omniform_medical.classification.network import classify_network

        return classify_network(config, mixer)

    def predictor_items(self, source: Source, config: ClassifyConfig) -> Album:
        """Read pictures to classify, with labels or without; where the data names a test part, those of it."""
        album = read_album(source, replace(config, group=""), labelled=False)
        test = [place for place, part in enumerate(album.parts) if part == "test"]
        return album.take(test) if test else album

    def score(self, predictions: Predictions, items: Album, config: ClassifyConfig) -> Scores:
        return score(predictions, items)

    def write(self, predictions: Predictions, path: Path) -> None:
        write_predictions(predictions, path)

    def figures(
        self, predictions: Mapping[str, Predictions], items: Album, config: ClassifyConfig
    ) -> Iterable[NamedFigure]:
        from omniform_medical.classification.figures import classification_figures

        return classification_figures(predictions, items)
