"""The task `detect`: find anomalies with a stated rate of false alarms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniform.configuration import join_names
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_timeseries.detection.alarm import Anomalies
from omniform_timeseries.detection.config import DetectConfig
from omniform_timeseries.detection.data import Labelled, Watch, read_labelled, read_watch, split_watches
from omniform_timeseries.detection.floors import RidgeResidual, SeasonalResidual, Spread
from omniform_timeseries.detection.metrics import METRICS, score
from omniform_timeseries.detection.output import anomaly_frame
from omniform_timeseries.output import write_frame
from omniform_timeseries.windows import season_for

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Detect"]


class Detect:
    """Find rows that the past did not foretell; implements `omniform.task.Task`.

    Scored on labelled anomalies where the options name a column of them; otherwise on anomalies planted in the test
    part (`planting.KINDS`), the same for everyone.
    """

    name = "detect"
    config = DetectConfig

    def metrics(self, config: DetectConfig) -> tuple[Metric, ...]:
        return METRICS

    def read(self, source: str | Path | pd.DataFrame, config: DetectConfig) -> Labelled:
        return read_labelled(source, config)

    def fingerprint(self, data: Labelled) -> str:
        return data.fingerprint()

    def resolve(self, data: Labelled, config: DetectConfig) -> DetectConfig:
        panel = data.panel
        return replace(
            config, season=season_for(panel, config), series=join_names(panel.names), frequency=panel.frequency
        )

    def split(self, data: Labelled, config: DetectConfig) -> Splits[Any]:
        return split_watches(data, config)

    def floors(self, config: DetectConfig) -> Sequence[Floor]:
        return (
            Floor(name="ridge", summary="residuals of the ridge forecast", estimator=RidgeResidual(config)),
            Floor(
                name="seasonal-residual",
                summary="residuals from the median of four seasons",
                estimator=SeasonalResidual(config),
            ),
            Floor(name="spread", summary="a moving median and its MAD", estimator=Spread(config)),
        )

    def network(self, splits: Splits[Any], config: DetectConfig, mixer: str) -> Network:
        from omniform_timeseries.detection.network import detect_network

        return detect_network(config, mixer, splits.train.scale)

    def predictor_items(self, source: str | Path | pd.DataFrame, config: DetectConfig) -> Watch:
        return read_watch(source, config)

    def score(self, predictions: Anomalies, items: Watch, config: DetectConfig) -> Scores:
        return score(predictions, items, config)

    def write(self, predictions: Anomalies, path: Path) -> None:
        write_frame(anomaly_frame(predictions), path)

    def figures(
        self, predictions: Mapping[str, Anomalies], items: Watch, config: DetectConfig
    ) -> Iterable[NamedFigure]:
        from omniform_timeseries.detection.figures import detect_figures

        return detect_figures(predictions, items, floor=self.floors(config)[0].name)
