"""The task `impute`: fill the missing values of every series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omniform.configuration import join_names
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_timeseries.data import Panel, read_panel
from omniform_timeseries.imputation.config import ImputeConfig
from omniform_timeseries.imputation.data import Stretch, read_stretch, split_stretches
from omniform_timeseries.imputation.floors import Kriging, Last, Linear, Profile, Seasonal
from omniform_timeseries.imputation.metrics import Imputed, metrics_of, score
from omniform_timeseries.imputation.output import completed_frame
from omniform_timeseries.leakage import check_leakage
from omniform_timeseries.output import write_frame
from omniform_timeseries.windows import season_for

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Impute"]


class Impute:
    """Fill missing values of many series at once; implements `omniform.task.Task`.

    Scored on observed values of the test part that were held out, one by one and in gaps, the same for everyone.
    """

    name = "impute"
    config = ImputeConfig

    def metrics(self, config: ImputeConfig) -> tuple[Metric, ...]:
        return metrics_of(config)

    def read(self, source: str | Path | pd.DataFrame, config: ImputeConfig) -> Panel:
        return read_panel(source, config)

    def fingerprint(self, data: Panel) -> str:
        return data.fingerprint()

    def resolve(self, data: Panel, config: ImputeConfig) -> ImputeConfig:
        return replace(config, season=season_for(data, config), series=join_names(data.names), frequency=data.frequency)

    def split(self, data: Panel, config: ImputeConfig) -> Splits[Stretch]:
        check_leakage(data, config)
        return split_stretches(data, config)

    def floors(self, config: ImputeConfig) -> Sequence[Floor]:
        return (
            Floor(name="kriging", summary="the best linear guess given the autocovariance", estimator=Kriging()),
            Floor(name="profile", summary="a straight line beside the mean season", estimator=Profile()),
            Floor(name="linear", summary="a straight line over the gap", estimator=Linear()),
            Floor(name="seasonal", summary="the same phase of the seasons around", estimator=Seasonal()),
            Floor(name="last", summary="the last value again", estimator=Last()),
        )

    def network(self, splits: Splits[Stretch], config: ImputeConfig, mixer: str) -> Network:
        from omniform_timeseries.imputation.network import impute_network

        return impute_network(config, mixer, splits.train.scale)

    def predictor_items(self, source: str | Path | pd.DataFrame, config: ImputeConfig) -> Stretch:
        return read_stretch(source, config)

    def score(self, predictions: Imputed, items: Stretch, config: ImputeConfig) -> Scores:
        return score(predictions, items, config)

    def write(self, predictions: Imputed, path: Path) -> None:
        write_frame(completed_frame(predictions), path)

    def figures(
        self, predictions: Mapping[str, Imputed], items: Stretch, config: ImputeConfig
    ) -> Iterable[NamedFigure]:
        from omniform_timeseries.imputation.figures import impute_figures

        return impute_figures(predictions, items, floor=self.floors(config)[0].name)
