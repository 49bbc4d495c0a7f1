"""Time series in omniform: forecasting over any mixer, beside seasonal-naive and ridge floors.

    from omniform_timeseries import Forecaster

    forecaster = Forecaster(mixer="gla", horizon=24, lookback=168).fit(df, budget="1m")
    forecaster.evaluate()    # the network's test scores, the floors' beneath
    forecaster.predict(12)   # unique_id, ds, y_hat

What is exported is imported at first use, so that finding the plugin stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omniform_timeseries.api import Forecaster
    from omniform_timeseries.config import ForecastConfig
    from omniform_timeseries.data import Panel, read_panel
    from omniform_timeseries.sample import load_sample
    from omniform_timeseries.task import Forecast

__all__ = ["Forecast", "ForecastConfig", "Forecaster", "Panel", "load_sample", "read_panel"]

_HOMES = {
    "Forecast": "task",
    "ForecastConfig": "config",
    "Forecaster": "api",
    "Panel": "data",
    "load_sample": "sample",
    "read_panel": "data",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
