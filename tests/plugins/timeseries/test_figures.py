"""Pictures show every predictor, the floor dashed, at windows that nobody picked for their looks."""

import numpy as np
import pytest

from omniform.plots import png
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.figures import representative
from omniform_timeseries.metrics import Forecasts
from omniform_timeseries.task import Forecast
from omniform_timeseries.windows import latest_window, split_panel

CONFIG = ForecastConfig(lookback=48, horizon=6, season=24, eval_stride=1)


@pytest.fixture
def told(panel):
    splits = split_panel(panel, CONFIG)
    floors = {floor.name: floor.estimator.fit(splits, seed=0) for floor in Forecast().floors(CONFIG)}
    return splits.test, {name: model.predict(splits.test) for name, model in floors.items()}


def test_a_figure_a_series_with_the_floor_dashed(told):
    items, predictions = told
    figures = list(Forecast().figures(predictions, items, CONFIG))
    assert [figure.name for figure in figures] == ["forecast-1", "forecast-2", "forecast-3"]
    axis = figures[0].figure.axes[0]
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert {"history", "truth", "ridge", "seasonal-naive"} <= set(lines)
    assert lines["ridge"].get_linestyle() == "--"
    assert lines["seasonal-naive"].get_linestyle() == "-"
    assert lines["ridge"].get_color() != lines["seasonal-naive"].get_color()
    assert png(figures[0].figure).startswith(b"\x89PNG")


def test_windows_are_those_of_median_and_high_error(told):
    items, _ = told
    truth = items.future()
    size = np.random.default_rng(0).permutation(len(items)) + 1.0
    forecasts = Forecasts(truth + size[:, None, None], items)
    middle, high = representative({"one": forecasts}, items, series=1)
    assert np.median(size) == pytest.approx(size[middle], abs=1)
    assert size[high] == pytest.approx(0.9 * len(items), abs=1.5)


def test_a_forecast_into_the_unknown_is_drawn_without_truth(panel, told):
    items = latest_window(panel, CONFIG)
    forecasts = Forecasts(np.zeros((1, 6, 3)), items)
    figure = next(iter(Forecast().figures({"ridge": forecasts}, items, CONFIG)))
    assert "truth" not in {line.get_label() for line in figure.figure.axes[0].get_lines()}
