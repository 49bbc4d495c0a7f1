"""The Streamlit page: a table in, a comparison of mixers on it out."""

from __future__ import annotations

import streamlit as st

from omniform.errors import OmniformError
from omniform.workbench import Workbench
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.task import Forecast

__all__ = ["page"]

_SHOWN = 24 * 28
_FIELDS = ("model", "protocol", "lookback", "horizon")


def page(bench: Workbench) -> None:
    """Draw the page of the domain."""
    source = bench.source(types=("csv", "gz", "parquet"), sample="Electricity demand of Victoria, hourly, 2012-2014")
    if source is None:
        st.caption("CSV or Parquet: a time column and a column per series, or unique_id, ds, y.")
        return
    task = Forecast()
    config = bench.config(ForecastConfig, _FIELDS, ForecastConfig())
    if config is None:
        return
    try:
        panel = task.read(source, config)
    except OmniformError as error:
        st.error(str(error))
        return
    with st.expander(f"The newest {_SHOWN} rows", expanded=True):
        st.line_chart(panel.frame().tail(_SHOWN))
    bench.compare(task, source, config)
