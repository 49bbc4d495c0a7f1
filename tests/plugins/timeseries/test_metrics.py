"""Scores against definitions written out by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.data import Panel
from omniform_timeseries.metrics import Forecasts, metrics_of, score
from omniform_timeseries.windows import split_panel

CONFIG = ForecastConfig(lookback=24, horizon=6, season=24, eval_stride=1)


@pytest.fixture
def scored(panel):
    """Test windows and forecasts that are wrong by noise in each series' own size."""
    items = split_panel(panel, CONFIG).test
    noise = np.random.default_rng(3).standard_normal((len(items), 6, 3)) * [1, 50, 1e4]
    return items, Forecasts(items.future() + noise, items)


def test_native_scores_are_their_definitions(panel, scored):
    items, forecasts = scored
    error = forecasts.values - items.future()
    train = panel.values[:210]
    naive = [np.mean([abs(train[t, c] - train[t - 24, c]) for t in range(24, 210)]) for c in range(3)]
    values = score(forecasts, items, "native").values()
    assert values["mase"] == pytest.approx(np.mean([np.abs(error[..., c]).mean() / naive[c] for c in range(3)]))
    assert values["mae"] == pytest.approx(np.abs(error).mean())
    assert values["rmse"] == pytest.approx(np.sqrt(np.square(error).mean()))


def test_ltsf_scores_are_those_of_standardised_values(panel, scored):
    items, forecasts = scored
    scaler = StandardScaler().fit(panel.values[:210])
    told, true = (scaler.transform(part.reshape(-1, 3)) for part in (forecasts.values, items.future()))
    values = score(forecasts, items, "ltsf").values()
    assert values["mse"] == pytest.approx(np.square(told - true).mean())
    assert values["mae"] == pytest.approx(np.abs(told - true).mean())


@pytest.mark.parametrize("protocol", ["native", "ltsf"])
def test_the_metrics_that_are_named_are_scored(scored, protocol):
    items, forecasts = scored
    statistics = score(forecasts, items, protocol).statistics
    assert [metric.name for metric in metrics_of(protocol)] == list(statistics)


@pytest.mark.parametrize("protocol", ["native", "ltsf"])
def test_the_last_window_counts(scored, protocol):
    items, forecasts = scored
    before = score(forecasts, items, protocol)
    values = forecasts.values.copy()
    values[-1, -1, -1] += 1e6
    after = score(Forecasts(values, items), items, protocol)
    for name, statistic in after.statistics.items():
        assert statistic.total.shape == (len(items),)
        assert statistic.total[-1] > before.statistics[name].total[-1]
        np.testing.assert_array_equal(statistic.total[:-1], before.statistics[name].total[:-1])


def test_scores_do_not_depend_on_chunks(scored, monkeypatch):
    items, forecasts = scored
    whole = score(forecasts, items, "native").values()
    monkeypatch.setattr("omniform_timeseries.windows._CHUNK_BYTES", 8 * 30 * 3 * 7)
    assert score(forecasts, items, "native").values() == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(("stride", "block"), [(1, 30), (6, 5), (7, 5)])
def test_blocks_span_lookback_and_horizon(panel, stride, block):
    config = ForecastConfig(lookback=24, horizon=6, season=24, eval_stride=stride)
    items = split_panel(panel, config).test
    units = score(Forecasts(items.future(), items), items, "native").units
    assert (units.kind, units.block) == ("time", block)


def panel_with_constants(*columns):
    stamps = pd.date_range("2024-01-01", periods=200, freq="h")
    return Panel(np.column_stack(columns), stamps, tuple("abc"[: len(columns)]))


def test_a_series_without_a_naive_error_is_left_out_of_mase():
    walk = np.random.default_rng(0).standard_normal(200).cumsum()
    items = split_panel(panel_with_constants(np.full(200, 5.0), walk), CONFIG).test
    alone = split_panel(panel_with_constants(walk), CONFIG).test
    both = score(Forecasts(items.future() + 1, items), items, "native").values()
    one = score(Forecasts(alone.future() + 1, alone), alone, "native").values()
    assert both["mase"] == pytest.approx(one["mase"])
    assert both["mae"] == pytest.approx(1.0)


def test_constants_alone_are_scored_unscaled():
    items = split_panel(panel_with_constants(np.full(200, 5.0)), CONFIG).test
    assert score(Forecasts(items.future() + 2, items), items, "native").values()["mase"] == pytest.approx(2.0)


def test_forecasts_must_fit_their_windows(panel):
    splits = split_panel(panel, CONFIG)
    with pytest.raises(ValueError, match="expected forecasts of shape"):
        Forecasts(splits.test.future()[:-1], splits.test)
    with pytest.raises(ValueError, match="exactly these windows"):
        score(Forecasts(splits.validation.future(), splits.validation), splits.test, "native")
