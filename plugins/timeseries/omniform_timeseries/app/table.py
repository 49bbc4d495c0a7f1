"""The table that the page works on: where it comes from, which of its columns are what, and a look at it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from omniform.configuration import join_names
from omniform.errors import DataError, OmniformError
from omniform.plots import GRID, INK, PALETTE
from omniform.workbench import Workbench, plain
from omniform_timeseries.config import PanelConfig
from omniform_timeseries.data import Panel, read_panel, read_table
from omniform_timeseries.reading.columns import column_of, named_columns, time_column
from omniform_timeseries.reading.long import is_long

__all__ = ["TYPES", "Table", "choose_table"]

TYPES = ("csv", "gz", "parquet")

_SAMPLE = "Sample: electricity demand of Victoria, hourly, 2012 to 2014"
_CLEANING = ("fill", "resample", "frequency", "calendar")
_SHOWN_ROWS = 24 * 28
_SHOWN_SERIES = 4
_MOST_OFFERED = 500  # names in a list to choose from
_STEPS = {"min": "minute", "h": "hour", "D": "day", "B": "weekday", "MS": "month", "ME": "month", "YS": "year"}


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """The data as the tabs take it.

    Attributes:
        source: what results are remembered by.
        frame: the table as it was read.
        options: how it is to be read, fields of `PanelConfig`.
        panel: its series, missing values left missing.
    """

    source: str | Path
    frame: pd.DataFrame
    options: dict[str, Any]
    panel: Panel

    @property
    def asked(self) -> tuple[str, str]:
        """What any result depends on."""
        return str(self.source), repr(self.options)

    @property
    def window(self) -> int:
        """Rows to look back by default: a week of hours, less for a short table, a tenth of which validates."""
        return max(16, min(168, len(self.panel) // 12))

    @property
    def horizon(self) -> int:
        """Rows to forecast by default: a day of hours, less for a short table."""
        return max(1, min(24, len(self.panel) // 24))


def choose_table(bench: Workbench) -> Table | None:
    """Ask for data and how to read it, and show what was read."""
    source = bench.source(types=TYPES, sample=_SAMPLE)
    if source is None:
        st.caption("CSV, CSV.gz or Parquet: a time column and a column for each series, or unique_id, ds, y.")
        return None
    try:
        frame = bench.recall("frame", str(source), lambda: named_columns(read_table(source)))
    except OmniformError as error:
        bench.refuse(error)
        return None
    with st.expander("Columns and cleaning"):
        options = _choose_options(bench, frame, str(source))
    if options is None:
        return None
    try:
        panel = bench.recall("panel", (str(source), repr(options)), lambda: _look(frame, options))
    except OmniformError as error:
        bench.refuse(error)
        return None
    _show(panel, str(source))
    return Table(source, frame, options, panel)


def _look(frame: pd.DataFrame, options: dict[str, Any]) -> Panel:
    """Read the series with all that is missing, whatever is to be done about it."""
    return read_panel(frame, dataclasses.replace(PanelConfig(), **{**options, "fill": "mask"}))


def _choose_options(bench: Workbench, frame: pd.DataFrame, source: str) -> dict[str, Any] | None:
    """Ask which columns are what; widgets begin anew with another table."""

    def key(name: str) -> str:
        return f"{bench.domain}.columns.{name}.{source}"

    columns = st.columns(3)
    time = columns[0].selectbox(
        "Time column", [None, *frame.columns], format_func=lambda name: name or "found by itself", key=key("time")
    )
    long = is_long(frame, PanelConfig(time=time))
    used = ("unique_id", "y", time or "ds") if long else (_clock(frame, time),)
    rest = [name for name in frame.columns if name not in used]
    past = columns[1].multiselect(
        "Covariates known only afterwards", rest, key=key("past"),
        help="columns that help to forecast, but are known only once their row has passed: yesterday's sales",
    )  # fmt: skip
    known = columns[2].multiselect(
        "Covariates known in advance", [name for name in rest if name not in past], key=key("known"),
        help="columns whose values over the horizon are known beforehand: holidays, prices, a weather forecast",
    )  # fmt: skip
    if long:
        names = column_of(frame, "unique_id").dropna().astype(str).str.strip().unique().tolist()
    else:
        names = [name for name in rest if name not in (*past, *known)]
    chosen = st.multiselect("Series", names[:_MOST_OFFERED], key=key("series"), placeholder="all of them")
    future, allowed = None, []
    if past or known:
        allowed = st.multiselect(
            "Covariates allowed to look as if they told the future", [*past, *known], key=key("allowed"),
            help="one that repeats the series is refused: it is rarely known by then. Allow it here if it is.",
        )  # fmt: skip
    if known:
        future = bench.upload(
            "What is known of the future (optional)", types=TYPES, slot="future",
            help="a table with the time column and the covariates known in advance, as far as the horizon reaches",
        )  # fmt: skip
    cleaning = bench.config(PanelConfig, _CLEANING, PanelConfig(), slot=f"cleaning.{source}")
    if cleaning is None:
        return None
    return {name: getattr(cleaning, name) for name in _CLEANING} | {
        "time": time,
        "series": join_names(chosen) or None,
        "past": join_names(past) or None,
        "known": join_names(known) or None,
        "allow_leak": join_names(allowed) or None,
        "known_data": None if future is None else str(future),
    }


def _clock(frame: pd.DataFrame, time: str | None) -> str | None:
    try:
        return time_column(frame, time)
    except DataError:  # said by the reading that follows
        return None


def _show(panel: Panel, source: str) -> None:
    """Show what was read: its size, and the newest rows of a few series."""
    missing = int(np.isnan(panel.values).sum())
    facts = {
        "Rows": f"{len(panel):,}",
        "Series": f"{len(panel.names):,}",
        "Step": _STEPS.get(panel.frequency or "", panel.frequency or "irregular"),
        "Missing values": f"{missing:,}",
    }
    for column, (name, fact) in zip(st.columns(4), facts.items(), strict=True):
        column.metric(name, fact)
    names = list(panel.names[:_MOST_OFFERED])
    chosen = names[:2]
    if len(names) > 2:
        chosen = st.multiselect(
            "Look at", names, default=chosen, max_selections=_SHOWN_SERIES, key=f"look at {source} {len(names)}"
        )
    newest = panel.tail(_SHOWN_ROWS)
    begin, end = panel.index[0], panel.index[-1]
    st.caption(plain(f"From {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}; the newest {len(newest):,} rows:"))
    for place, name in zip(st.columns(max(1, len(chosen))), chosen, strict=True):
        place.altair_chart(_line(newest, name), theme=None)


def _line(panel: Panel, name: str) -> Any:
    """Return one series as a line, which zooms and tells its values; a value between gaps is a dot."""
    values = panel.values[:, panel.names.index(name)]
    seen = np.pad(~np.isnan(values), 1)
    alone = seen[1:-1] & ~seen[:-2] & ~seen[2:]
    table = pd.DataFrame({"time": panel.index.tz_localize(None), "value": values, "alone": alone})
    base = alt.Chart(table, height=170).encode(
        x=alt.X("time:T", title=None, axis=alt.Axis(tickCount=7, labelFlush=True)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        tooltip=[alt.Tooltip("time:T", format="%Y-%m-%d %H:%M"), alt.Tooltip("value:Q", format=",.6~g")],
    )
    lines = base.mark_line(color=PALETTE[0], strokeWidth=1.2)
    dots = base.transform_filter("datum.alone").mark_circle(color=PALETTE[0], size=14)
    axis = {"labelColor": INK, "gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "labelFontSize": 11}
    title = alt.TitleParams(name, anchor="start", color=INK, fontSize=13, fontWeight="normal")
    return (
        (lines + dots)
        .properties(title=title, background="transparent", width="container")
        .configure(font="Source Sans, sans-serif")
        .configure_axis(**axis)
        .configure_view(stroke=None)
        .interactive(bind_y=False)
    )
