"""Forecasting in a few lines: data frame in, data frame out, the floors beside every score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import pandas as pd

from omniform.configuration import join_names, split_names
from omniform.errors import ConfigError
from omniform.task import Budget, Task
from omniform.training.config import Training
from omniform_timeseries.config import Channels, Fill, ForecastConfig, ModelName, Resample
from omniform_timeseries.cross_validation import cross_validation
from omniform_timeseries.data import Panel, read_panel, read_table
from omniform_timeseries.future import future_frame
from omniform_timeseries.learner import Table, TableLearner, scores_frame
from omniform_timeseries.output import forecast_frame
from omniform_timeseries.reading.snapshot import Frames, panel_frames
from omniform_timeseries.task import Forecast, latest_items
from omniform_timeseries.windows import borders, recent_rows

__all__ = ["Forecaster"]

_DEFAULT = ForecastConfig()
_LATEST = "latest"


class Forecaster(TableLearner[ForecastConfig]):
    """Forecast every series of a data frame with one network.

    Frames are long (`unique_id`, `ds`, `y`, covariates) or wide (a time column and one column per series); the rules
    for gaps, missing values and the like are those of `omniform_timeseries.reading.frame`. The first 70 % of the rows
    train the network, the next 10 % choose its best moment and calibrate its intervals, and the last 20 % are what
    `evaluate` scores; `split="0.9,0.1,0"` leaves nothing for a test and learns from the newest rows.

    Args:
        mixer: the id of a token mixer; `omniform zoo --kind token-mixer` lists them.
        horizon: rows to predict.
        lookback: rows that a prediction sees.
        past, known: columns of the frame that are covariates: known once a row has passed, or long before.
        season, frequency, fill, resample, irregular, calendar, allow_leak: how the table is read; as in
            `ForecastConfig`, as are
        levels, quantiles: conformal intervals in per cent, and quantiles that the network learns itself;
        model, base, channels, patch, stride, pretrain, dropout: the network around the mixer;
        split: the parts in time.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers.
        seed: of initialisation, order and dropout.
        training: optimiser settings, device and precision.

    Raises:
        ConfigError: an option is out of range.
    """

    task: ClassVar[Task] = Forecast()

    def __init__(
        self,
        mixer: str = "gla",
        *,
        horizon: int = _DEFAULT.horizon,
        lookback: int = _DEFAULT.lookback,
        past: tuple[str, ...] = (),
        known: tuple[str, ...] = (),
        season: int | None = _DEFAULT.season,
        frequency: str | None = _DEFAULT.frequency,
        fill: Fill = _DEFAULT.fill,
        resample: Resample = _DEFAULT.resample,
        irregular: bool = _DEFAULT.irregular,
        calendar: bool = _DEFAULT.calendar,
        allow_leak: tuple[str, ...] = (),
        levels: tuple[int, ...] = _DEFAULT.levels,
        quantiles: tuple[float, ...] = _DEFAULT.quantiles,
        model: ModelName = _DEFAULT.model,
        base: Literal["ridge", "none"] = _DEFAULT.base,
        channels: Channels = _DEFAULT.channels,
        patch: int = _DEFAULT.patch,
        stride: int = _DEFAULT.stride,
        pretrain: int = _DEFAULT.pretrain,
        dropout: float = _DEFAULT.dropout,
        split: str = _DEFAULT.split,
        params: int = 200_000,
        depth: int = 2,
        seed: int = 0,
        training: Training | None = None,
    ) -> None:
        config = ForecastConfig(
            horizon=horizon,
            lookback=lookback,
            past=join_names(past) or None,
            known=join_names(known) or None,
            season=season,
            frequency=frequency,
            fill=fill,
            resample=resample,
            irregular=irregular,
            calendar=calendar,
            allow_leak=join_names(allow_leak) or None,
            levels=levels,
            quantiles=quantiles,
            model=model,
            base=base,
            channels=channels,
            patch=patch,
            stride=stride,
            pretrain=pretrain,
            dropout=dropout,
            split=split,
        )
        super().__init__(config, mixer, params=params, depth=depth, seed=seed, training=training)
        self._latest: Panel | None = None
        self._tables: tuple[Table, pd.DataFrame | None, pd.DataFrame | None] | None = None

    def fit(
        self,
        df: Table,
        *,
        known_df: pd.DataFrame | None = None,
        static_df: pd.DataFrame | None = None,
        budget: str = "1m",
        progress: bool = True,
    ) -> Self:
        """Train on a data frame, a file, or `"sample"`; a budget is a time (`"90s"`, `"2m"`) or steps (`"300"`).

        Args:
            known_df: the `known` columns by `ds` (and `unique_id`), if they are not in `df`; with a column `issued`
                they are revisions, of which a window sees what had been issued by its end.
            static_df: a row of constant covariates per `unique_id`.

        Raises:
            DataError: the data is refused.
            ConfigError: unknown mixer, or no such budget.
            SizeError: the parameters cannot be met.
        """
        panel = read_panel(df, self.config, known=known_df, static=static_df)
        config = self._fit(panel, df, budget=budget, progress=progress)
        # rows that were not trained on, to recalibrate intervals by, and what the first of them looks back on
        trained, _, _ = borders(panel.index, config.split)
        self._latest = panel.tail(max(3, min(recent_rows(config), config.lookback + len(panel) - trained)))
        self._tables = df, known_df, static_df
        return self

    def predict(
        self,
        h: int | None = None,
        df: Table | None = None,
        *,
        known_df: pd.DataFrame | None = None,
        static_df: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return the next `h` rows of every series: `unique_id`, `ds`, `y_hat`, and the bounds of each interval.

        Args:
            h: rows, at most the horizon that was trained; all of it by default.
            df: data to go on from, instead of the end of what `fit` saw; it needs `lookback` rows of the same series.
            known_df, static_df: as in `fit`; the known columns must reach over the horizon (`future_frame` returns the
                rows to fill in).

        Raises:
            ConfigError: nothing was fitted, or `h` is beyond the horizon.
            DataError: `df` is refused, or known covariates are missing.
        """
        fitted = self._ready()
        horizon = fitted.config.horizon
        if h is not None and not 1 <= h <= horizon:
            raise ConfigError(f"expected h from 1 to the horizon of {horizon}, got {h}; fit with a longer horizon")
        panel = self._panel(df, known_df, static_df)
        frame = forecast_frame(self._predict(latest_items(panel, fitted.config)))
        step = frame.groupby("unique_id", sort=False).cumcount()
        return frame.loc[step < (h or horizon)].reset_index(drop=True)

    def future_frame(
        self, df: Table | None = None, *, known_df: pd.DataFrame | None = None, static_df: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """Return the rows that `predict` must know in advance: `unique_id`, `ds`, known columns with NaN to fill in."""
        fitted = self._ready()
        return future_frame(self._panel(df, known_df, static_df), fitted.config)

    def evaluate(
        self,
        df: Table | None = None,
        *,
        known_df: pd.DataFrame | None = None,
        static_df: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return the test scores of the network and, beneath, of the floors, fitted to the same rows.

        Args:
            df: other data, which is split as the training data was.

        Raises:
            ConfigError: nothing was fitted, or a loaded forecaster was given no data.
            DataError: `df` is refused.
        """
        config = self._ready().config
        panel = None if df is None else read_panel(df, config, known=known_df, static=static_df)
        return scores_frame(self._scores(panel))

    def cross_validation(
        self,
        df: Table,
        *,
        windows: int = 8,
        step: int | None = None,
        refit: bool = False,
        budget: str = "1m",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Return forecasts from several cutoffs beside what came: `unique_id`, `ds`, `cutoff`, `y`, and each model's.

        A network of these options is trained before the first cutoff (at each, with `refit`); what `fit` learnt is not
        used. `omniform_timeseries.cross_validation` also returns scores and intervals.

        Args:
            step: rows between cutoffs; the horizon by default.

        Raises:
            DataError: the data is refused, or too short for so many cutoffs.
        """
        told = cross_validation(
            df,
            self.config,
            mixers=[self.mixer],
            budget=Budget.parse(budget),
            windows=windows,
            step=step,
            refit=refit,
            params=self.params,
            depth=self.depth,
            seed=self.seed,
            training=self.training,
            progress=progress,
        )
        return told.frame

    def save(self, path: str | Path) -> None:
        """Write a run folder, which the command line reads too, with the latest rows in it.

        Raises:
            ConfigError: nothing was fitted.
            RunError: something is at `path` already.
        """
        super().save(path)
        if self._latest is None:
            return
        frames = panel_frames(self._latest, self._ready().config)
        for name, table in frames._asdict().items():
            if table is not None:
                Path(path, _LATEST).mkdir(exist_ok=True)
                table.to_parquet(Path(path, _LATEST, f"{name}.parquet"), index=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        forecaster = super().load(path)
        paths = {name: Path(path, _LATEST, f"{name}.parquet") for name in Frames._fields}
        if paths["values"].exists():
            values = read_table(paths["values"])
            known, static = (read_table(paths[name]) if paths[name].exists() else None for name in ("known", "static"))
            forecaster._tables = values, known, static
            config = replace(forecaster.config, known_data=None, static_data=None)  # as they were is what was saved
            forecaster._latest = read_panel(values, config, known=known, static=static)
        return forecaster

    def _panel(self, df: Table | None, known: pd.DataFrame | None, static: pd.DataFrame | None) -> Panel:
        """Return the data to go on from; without `df` that of `fit`, to which what is known in advance is added."""
        config = self._ready().config
        if df is not None:
            return read_panel(df, config, known=known, static=static)
        if (known is not None or static is not None) and self._tables is not None:
            table, known_before, static_before = self._tables
            names = split_names(config.series or "")
            known = known_before if known is None else _continued(known_before, known, names, config.time or "ds")
            return read_panel(table, config, known=known, static=static_before if static is None else static)
        if self._latest is None:
            raise ConfigError("the run was saved without its data; expected predict(df=...) with the latest rows")
        return self._latest


def _continued(before: pd.DataFrame | None, known: pd.DataFrame, names: tuple[str, ...], time: str) -> pd.DataFrame:
    """Return known covariates as they were with new ones behind, which win where both speak of a row."""
    if before is None:
        return known
    parts = [before, known]
    keys = [name for name in ("unique_id", time, "issued") if any(name in part for part in parts)]
    if "unique_id" in keys:
        series = pd.DataFrame({"unique_id": names})
        parts = [part if "unique_id" in part else part.merge(series, how="cross") for part in parts]
    return pd.concat(parts, ignore_index=True).drop_duplicates(keys, keep="last")
