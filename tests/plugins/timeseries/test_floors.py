"""Floors against scikit-learn, against a definition by loops, and against the published kind of number."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from omniform.task import Estimator, Predictor
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.data import Panel
from omniform_timeseries.floors import PENALTIES, Ridge, SeasonalNaive
from omniform_timeseries.task import Forecast
from omniform_timeseries.windows import split_panel

CONFIG = ForecastConfig(lookback=30, horizon=7, season=24)


def rows(items, scaled=True):
    """Return histories and futures less their last value, one row a window and series, by plain loops."""
    x, y = [], []
    for start in items.starts:
        for series in range(items.num_series):
            values = items.panel.values[start : start + items.lookback + items.horizon, series]
            change = (values - values[items.lookback - 1]) / (items.scale.std[series] if scaled else 1)
            x.append(change[: items.lookback])
            y.append(change[items.lookback :])
    return np.array(x), np.array(y)


def test_ridge_is_scikit_learns(panel):
    splits = split_panel(panel, CONFIG)
    model = Ridge().fit(splits, seed=0)
    x, y = rows(splits.train)
    vx, vy = rows(splits.validation)
    fits = {
        penalty: SklearnRidge(alpha=penalty * np.square(x).sum() / 30, fit_intercept=False).fit(x, y)
        for penalty in PENALTIES
    }
    best = min(fits, key=lambda penalty: np.square(vy - fits[penalty].predict(vx)).sum())
    assert model.penalty == best
    np.testing.assert_allclose(model.weights, fits[best].coef_.T, atol=1e-7)


def test_ridge_forecasts_in_the_datas_units(panel):
    splits = split_panel(panel, CONFIG)
    model = Ridge().fit(splits, seed=0)
    x, _ = rows(splits.test, scaled=False)
    expected = (x @ model.weights).reshape(len(splits.test), 3, 7).transpose(0, 2, 1) + splits.test.last()
    np.testing.assert_allclose(model.predict(splits.test).values, expected, rtol=1e-12)


def test_ridge_does_not_depend_on_chunks(panel, monkeypatch):
    splits = split_panel(panel, CONFIG)
    whole = Ridge().fit(splits, seed=0)
    monkeypatch.setattr("omniform_timeseries.windows._CHUNK_BYTES", 8 * 37 * 3 * 11)
    pieces = Ridge().fit(splits, seed=0)
    np.testing.assert_allclose(pieces.weights, whole.weights, atol=1e-10)
    np.testing.assert_allclose(pieces.predict(splits.test).values, whole.predict(splits.test).values, rtol=1e-9)


def test_ridge_learns_what_is_linear():
    steps = np.arange(400)
    values = np.column_stack([np.sin(steps / 5) + 0.01 * steps, 1e6 * np.cos(steps / 5)])
    panel = Panel(values, pd.date_range("2024-01-01", periods=400, freq="h"), ("a", "b"))
    splits = split_panel(panel, CONFIG)
    values = Ridge().fit(splits, seed=0).predict(splits.test).values
    np.testing.assert_allclose(values / [1, 1e6], splits.test.future() / [1, 1e6], atol=2e-3)


def test_ridge_of_constant_series_repeats_them():
    panel = Panel(np.full((200, 2), 3.5), pd.date_range("2024-01-01", periods=200, freq="h"), ("a", "b"))
    splits = split_panel(panel, CONFIG)
    assert (Ridge().fit(splits, seed=0).predict(splits.test).values == 3.5).all()


@pytest.mark.parametrize(("season", "horizon"), [(24, 7), (5, 12), (1, 3), (30, 30)])
def test_seasonal_naive_is_the_value_a_whole_number_of_seasons_before(panel, season, horizon):
    config = ForecastConfig(lookback=30, horizon=horizon, season=season, split="0.6,0.2,0.2")
    splits = split_panel(panel, config)
    values = SeasonalNaive().fit(splits, seed=0).predict(splits.test).values
    for window in (0, len(splits.test) - 1):
        for step in range(horizon):
            row = int(splits.test.starts[window]) + 30 + step
            while row >= splits.test.starts[window] + 30:
                row -= season
            np.testing.assert_array_equal(values[window, step], panel.values[row])


def test_floors_never_look_at_the_test_part(panel):
    changed = panel.values.copy()
    changed[240:] += np.random.default_rng(1).standard_normal((60, 3)) * 1e4
    for floor in Forecast().floors(CONFIG):
        assert isinstance(floor.estimator, Estimator)
        models = [
            floor.estimator.fit(split_panel(data, CONFIG), seed=0)
            for data in (panel, Panel(changed, panel.index, panel.names))
        ]
        assert isinstance(models[0], Predictor)
        items = split_panel(panel, CONFIG).test
        np.testing.assert_array_equal(models[0].predict(items).values, models[1].predict(items).values)


def test_ridge_reaches_the_reference_on_etth1(etth1):
    """A reference implementation gives MSE .3696 and MAE .3912."""
    task = Forecast()
    config = ForecastConfig(protocol="ltsf", split="8640,2880,2880", lookback=336, horizon=96)
    data = task.read(etth1, config)
    config = task.resolve(data, config)
    splits = task.split(data, config)
    ridge = task.floors(config)[0]
    assert ridge.name == "ridge"
    scores = task.score(ridge.estimator.fit(splits, seed=0).predict(splits.test), splits.test, config).values()
    assert scores["mse"] == pytest.approx(0.3696, abs=5e-4)
    assert scores["mae"] == pytest.approx(0.3912, abs=5e-4)
