"""The Streamlit page: a table in, a comparison of mixers on it out."""

from __future__ import annotations

import streamlit as st

from omniform.errors import OmniformError
from omniform.workbench import Workbench
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.task import Forecast

__all__ = ["page"]

_SHOWN = 24 * 28
_SHOWN_SERIES = 3
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
    newest, names = panel.tail(_SHOWN), panel.names[:_SHOWN_SERIES]
    st.caption(f"{len(panel):,} rows of {len(panel.names)} series, every {panel.frequency}; the newest {_SHOWN} rows:")
    for column, name, values in zip(st.columns(len(names)), names, newest.values.T, strict=False):
        column.line_chart({"time": newest.index, name: values}, x="time", y=name, height=200)
    bench.compare(task, source, config)
