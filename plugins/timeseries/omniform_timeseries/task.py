"""The task `forecast`: predict the next values of every series from their past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omniform.configuration import join_names
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.conformal import probabilities_of
from omniform_timeseries.data import Panel, read_panel
from omniform_timeseries.floors import floors_of
from omniform_timeseries.future import check_future
from omniform_timeseries.leakage import check_leakage
from omniform_timeseries.metrics import Forecasts, metrics_of, score
from omniform_timeseries.output import write_forecasts
from omniform_timeseries.windows import Windows, latest_windows, season_for, split_panel, test_stride

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Forecast", "latest_items"]


def latest_items(panel: Panel, config: ForecastConfig) -> Windows:
    """Return the windows whose future begins where the series end, once all that they must know in advance is there.

    Raises:
        DataError: too few rows, or a known covariate lacks some of the rows to forecast.
    """
    check_future(panel, config)
    return latest_windows(panel, config)


class Forecast:
    """Forecast many series at once; implements `omniform.task.Task`.

    The metrics depend on the protocol: MASE and the data's own units, or MSE and MAE of z-scores.
    """

    name = "forecast"
    config = ForecastConfig

    def metrics(self, config: ForecastConfig) -> tuple[Metric, ...]:
        return metrics_of(config.protocol, probabilities_of(config.levels, config.quantiles))

    def read(self, source: str | Path | pd.DataFrame, config: ForecastConfig) -> Panel:
        return read_panel(source, config)

    def fingerprint(self, data: Panel) -> str:
        return data.fingerprint()

    def resolve(self, data: Panel, config: ForecastConfig) -> ForecastConfig:
        return replace(
            config,
            season=season_for(data, config),
            series=join_names(data.names),
            frequency=data.frequency,
            eval_stride=test_stride(data, config),
        )

    def split(self, data: Panel, config: ForecastConfig) -> Splits[Windows]:
        check_leakage(data, config)
        return split_panel(data, config)

    def floors(self, config: ForecastConfig) -> Sequence[Floor]:
        return floors_of(config, config.floors)

    def network(self, splits: Splits[Windows], config: ForecastConfig, mixer: str) -> Network:
        from omniform_timeseries.network import forecast_network

        return forecast_network(config, mixer, splits.train.scale)

    def predictor_items(self, source: str | Path | pd.DataFrame, config: ForecastConfig) -> Windows:
        return latest_items(self.read(source, config), config)

    def score(self, predictions: Forecasts, items: Windows, config: ForecastConfig) -> Scores:
        return score(predictions, items, config.protocol)

    def write(self, predictions: Forecasts, path: Path) -> None:
        write_forecasts(predictions, path)

    def figures(
        self, predictions: Mapping[str, Forecasts], items: Windows, config: ForecastConfig
    ) -> Iterable[NamedFigure]:
        from omniform_timeseries.figures import forecast_figures

        return forecast_figures(predictions, items, floor=self.floors(config)[0].name)
