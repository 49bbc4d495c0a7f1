"""Forecasting in a few lines: data frame in, data frame out, the floors beside every score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import pandas as pd

from omniform.errors import ConfigError, RunError
from omniform.estimator import NetworkEstimator, NetworkPredictor
from omniform.run import Run, RunSpec, Source
from omniform.serial import to_json
from omniform.solver import count_parameters, solve_size
from omniform.task import Budget, Size, Splits
from omniform.training.config import Training
from omniform.training.precision import resolve_device
from omniform_timeseries.config import ForecastConfig, split_names
from omniform_timeseries.data import Panel, read_panel
from omniform_timeseries.network import forecast_network
from omniform_timeseries.output import forecast_frame
from omniform_timeseries.task import Forecast
from omniform_timeseries.windows import Windows, latest_window

__all__ = ["Forecaster"]

_DEFAULT = ForecastConfig()
_HISTORY = "history.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """What `fit` or `load` leaves behind; a run folder holds no `splits`, and `latest` only if `save` wrote it."""

    config: ForecastConfig
    size: Size
    budget: Budget
    predictor: NetworkPredictor
    fingerprint: str
    splits: Splits[Windows] | None
    latest: Windows | None


class Forecaster:
    """Forecast every series of a data frame with one network.

    Frames are long (`unique_id`, `ds`, `y`) or wide (a time column and one column per series); the rules for gaps,
    missing values and the like are those of `omniform_timeseries.frame`. The first 70 % of the rows train the network,
    the next 10 % choose its best moment, and the last 20 % are what `evaluate` scores.

    Args:
        mixer: the id of a token mixer; `omniform zoo --kind token-mixer` lists them.
        horizon: rows to predict.
        lookback: rows that a prediction sees.
        season, frequency: as in `ForecastConfig`; inferred when absent.
        fill: what to do about missing values.
        model: the network around the mixer.
        patch, stride, dropout: as in `ForecastConfig`.
        split: as in `ForecastConfig`.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers.
        seed: of initialisation, order and dropout.
        training: optimiser settings, device and precision.

    Raises:
        ConfigError: an option is out of range.
    """

    def __init__(
        self,
        mixer: str = "gla",
        *,
        horizon: int = _DEFAULT.horizon,
        lookback: int = _DEFAULT.lookback,
        season: int | None = _DEFAULT.season,
        frequency: str | None = _DEFAULT.frequency,
        fill: Literal["refuse", "forward", "interpolate"] = _DEFAULT.fill,
        model: Literal["patch", "itransformer", "patchtsmixer"] = _DEFAULT.model,
        patch: int = _DEFAULT.patch,
        stride: int = _DEFAULT.stride,
        dropout: float = _DEFAULT.dropout,
        split: str = _DEFAULT.split,
        params: int = 200_000,
        depth: int = 2,
        seed: int = 0,
        training: Training | None = None,
    ) -> None:
        self.mixer = mixer
        self.config = ForecastConfig(
            horizon=horizon,
            lookback=lookback,
            season=season,
            frequency=frequency,
            fill=fill,
            model=model,
            patch=patch,
            stride=stride,
            dropout=dropout,
            split=split,
        )
        self.params = params
        self.depth = depth
        self.seed = seed
        self.training = training or Training()
        self._task = Forecast()
        self._fitted: _Fitted | None = None

    def fit(self, df: pd.DataFrame | str | Path, *, budget: str = "1m", progress: bool = True) -> Self:
        """Train on a data frame, a file, or `"sample"`; a budget is a time (`"90s"`, `"2m"`) or steps (`"300"`).

        Raises:
            DataError: the data is refused.
            ConfigError: unknown mixer, or no such budget.
            SizeError: the parameters cannot be met.
        """
        panel = read_panel(df, self.config)
        config = self._task.resolve(panel, self.config)
        splits = self._task.split(panel, config)
        network = self._task.network(splits, config, self.mixer)
        size = solve_size(network, params=self.params, depth=self.depth)
        estimator = NetworkEstimator(
            task=self._task,
            config=config,
            network=network,
            size=size,
            training=self.training,
            budget=Budget.parse(budget),
            progress=progress,
        )
        self._fitted = _Fitted(
            config=config,
            size=size,
            budget=estimator.budget,
            predictor=estimator.fit(splits, seed=self.seed),
            fingerprint=panel.fingerprint(),
            splits=splits,
            latest=_latest(panel, config),
        )
        return self

    def predict(self, h: int | None = None, df: pd.DataFrame | str | Path | None = None) -> pd.DataFrame:
        """Return the next `h` rows of every series: `unique_id`, `ds`, `y_hat`.

        Args:
            h: rows, at most the horizon that was trained; all of it by default.
            df: data to go on from, instead of the end of what `fit` saw; it needs `lookback` rows of the same series.

        Raises:
            ConfigError: nothing was fitted, or `h` is beyond the horizon.
            DataError: `df` is refused.
        """
        fitted = self._ready()
        if h is not None and not 1 <= h <= fitted.config.horizon:
            raise ConfigError(
                f"expected h from 1 to the horizon of {fitted.config.horizon}, got {h}; fit with a longer horizon"
            )
        latest = fitted.latest if df is None else self._task.predictor_items(df, fitted.config)
        if latest is None:
            raise ConfigError("the run was saved without its data; expected predict(df=...) with the latest rows")
        frame = forecast_frame(fitted.predictor.predict(latest))
        step = frame.groupby("unique_id", sort=False).cumcount()
        return frame.loc[step < (h or fitted.config.horizon)].reset_index(drop=True)

    def evaluate(self, df: pd.DataFrame | str | Path | None = None) -> pd.DataFrame:
        """Return the test scores of the network and, beneath, of the floors, fitted to the same rows.

        Args:
            df: other data, which is split as the training data was.

        Raises:
            ConfigError: nothing was fitted, or a loaded forecaster was given no data.
            DataError: `df` is refused.
        """
        fitted = self._ready()
        config = fitted.config
        splits = fitted.splits if df is None else self._task.split(read_panel(df, config), config)
        if splits is None:
            raise ConfigError("a loaded forecaster has no test data; expected evaluate(df)")
        predictions = {self.mixer: fitted.predictor.predict(splits.test)}
        for floor in self._task.floors(config):
            predictions[floor.name] = floor.estimator.fit(splits, seed=self.seed).predict(splits.test)
        scores = {name: self._task.score(told, splits.test, config).values() for name, told in predictions.items()}
        return pd.DataFrame.from_dict(scores, orient="index").rename_axis("model")

    def save(self, path: str | Path) -> None:
        """Write a run folder, which the command line's `evaluate` and `predict` read too, with the latest rows in it.

        Raises:
            ConfigError: nothing was fitted.
            RunError: something is at `path` already.
        """
        fitted = self._ready()
        model = fitted.predictor.model
        spec = RunSpec(
            domain="timeseries",
            task=self._task.name,
            mixer=self.mixer,
            params=count_parameters(model),
            seed=self.seed,
            init=None,
            size=fitted.size,
            budget=fitted.budget,
            training=self.training,
            config=to_json(fitted.config),
        )
        run = Run.create(Path(path), spec, Source(source="a data frame", fingerprint=fitted.fingerprint))
        run.save_model(model)
        if fitted.latest is not None:
            fitted.latest.panel.frame().to_parquet(run.path / _HISTORY, index=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a run folder that `save` or the command line's `train` wrote.

        Raises:
            RunError: it is none, or it is of another task, or damaged.
        """
        run = Run.open(Path(path))
        spec = run.spec
        if (spec.domain, spec.task) != ("timeseries", Forecast.name):
            raise RunError(f"expected a run of timeseries forecast in {path}, got {spec.domain} {spec.task}")
        config: ForecastConfig = run.task_config(Forecast())
        network = forecast_network(config, spec.mixer, unit=[1.0] * len(split_names(config.series or "")))
        model = run.load_model(network).to(resolve_device(spec.training.device))
        forecaster = cls(spec.mixer, params=spec.params, depth=spec.size.depth, seed=spec.seed, training=spec.training)
        forecaster.config = config
        history = run.path / _HISTORY
        forecaster._fitted = _Fitted(
            config=config,
            size=spec.size,
            budget=spec.budget,
            predictor=NetworkPredictor(model, network, spec.training.batch_size),
            fingerprint=run.data.fingerprint,
            splits=None,
            latest=_latest(read_panel(history, config), config) if history.exists() else None,
        )
        return forecaster

    def _ready(self) -> _Fitted:
        if self._fitted is None:
            raise ConfigError("nothing was fitted yet; call fit(df) first, or Forecaster.load(path)")
        return self._fitted


def _latest(panel: Panel, config: ForecastConfig) -> Windows:
    # enough rows to infer the frequency again, and no more: this is what `save` writes
    return latest_window(panel.tail(max(config.lookback, 3)), config)
