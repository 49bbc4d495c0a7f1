"""A data frame becomes a `Panel`: every rule about broken input stands here.

Two forms are read. *Long*: the columns `unique_id`, `ds`, `y`. *Wide*: one time column (or a `DatetimeIndex`) and one
column per numeric series. Rows are counted from 1 below the header.

| what | rule |
| --- | --- |
| time column | the one of dates; of several, the one called ds, date, time, timestamp or datetime; or `--time` |
| unsorted stamps | sorted, and said once |
| duplicate stamps | refused |
| gaps, missing values (NaN, empty, NA) | refused; with `--fill forward` the last value is repeated, with `--fill
interpolate` a straight line joins the neighbours (which uses later values, over a border of the split too); a series
that begins (or, for a line, ends) with missing values is refused in any case |
| irregular stamps | refused; a gap is a missing stamp of an otherwise regular frequency |
| infinities | refused |
| constant series | allowed |
| non-numeric columns | refused, unless `--series` leaves them out; truth values count as 0 and 1 |
| time zones | stamps with a zone or offset become UTC; mixing stamps with and without is refused |
| two columns of one name, a column without a name | refused |
| long data whose series have different stamps | refused; within one common span, gaps are filled as above |
| further columns of long data | left out, and said once |
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import cast

import numpy as np
import pandas as pd

from omniform.errors import DataError
from omniform_timeseries.clock import looks_like_stamps, parse_stamps, regular_grid
from omniform_timeseries.config import ForecastConfig, split_names
from omniform_timeseries.data import MAX_COLUMNS, Panel

__all__ = ["panel_from_frame"]

_LONG = ("unique_id", "ds", "y")
_TIME_NAMES = frozenset({"ds", "date", "time", "timestamp", "datetime"})
_log = logging.getLogger(__name__)


def panel_from_frame(frame: pd.DataFrame, config: ForecastConfig) -> Panel:
    """Check a frame by the rules above and return its series on one clock.

    Raises:
        DataError: a rule refuses the frame; the message names column, stamp and row.
    """
    frame = _named_columns(frame)
    if len(frame) == 0:
        raise DataError("the table has a header but no rows")
    stamps, values, names = _long(frame, config) if set(_LONG) <= set(frame.columns) else _wide(frame, config)
    grid = regular_grid(stamps, config.frequency)
    values = _on_grid(stamps, values, grid, config.fill)
    return Panel(_filled(values, grid, names, config.fill), grid, names)


def _named_columns(frame: pd.DataFrame) -> pd.DataFrame:
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.reset_index(names=frame.index.name or "ds")
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis=1)
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"several columns are called {repeated[0]!r}; rename all but one")
    if frame.shape[1] > MAX_COLUMNS:
        raise DataError(f"{frame.shape[1]} columns, expected at most {MAX_COLUMNS}; is the table transposed?")
    return frame.reset_index(drop=True)


def _wide(frame: pd.DataFrame, config: ForecastConfig) -> tuple[pd.DatetimeIndex, np.ndarray, tuple[str, ...]]:
    time = _time_column(frame, config.time)
    names = _selected(tuple(name for name in frame.columns if name != time), config.series)
    stamps = parse_stamps(_column(frame, time))
    values = np.stack([_numbers(_column(frame, name), stamps) for name in names], axis=1)  # (T, C)
    order = _ordered(stamps)
    stamps, values = stamps[order], values[order]
    repeated = stamps.duplicated()
    if repeated.any():
        at = int(np.argmax(repeated))
        raise DataError(
            f"time column {time!r} has {stamps[at]} more than once (rows {order[at - 1] + 1} and {order[at] + 1}); "
            "keep one row a stamp (clocks set back repeat an hour: use UTC), or write the table as unique_id, ds, y"
        )
    return stamps, values, names


def _long(frame: pd.DataFrame, config: ForecastConfig) -> tuple[pd.DatetimeIndex, np.ndarray, tuple[str, ...]]:
    further = [name for name in frame.columns if name not in _LONG]
    if further:
        _log.warning("columns beside unique_id, ds, y are left out: %s", ", ".join(further))
    series = _column(frame, "unique_id")
    nameless = series.isna().to_numpy(dtype=bool)
    if nameless.any():
        raise DataError(f"unique_id is missing in row {int(np.argmax(nameless)) + 1}")
    stamps = parse_stamps(_column(frame, "ds"))
    order = _ordered(stamps, series)
    codes, ids = pd.factorize(series.astype(str))
    if len(ids) > MAX_COLUMNS:
        raise DataError(f"{len(ids)} series in unique_id, expected at most {MAX_COLUMNS}")
    union = stamps.unique().sort_values()
    rows = union.get_indexer(stamps)
    cell = (rows * len(ids) + codes)[order]
    repeated = pd.Series(cell).duplicated().to_numpy()
    if repeated.any():
        at = int(order[np.argmax(repeated)])
        raise DataError(
            f"series {ids[codes[at]]!r} has {stamps[at]} more than once (row {at + 1}); keep one row a stamp"
        )
    present = np.zeros((len(union), len(ids)), dtype=bool)
    present[rows, codes] = True
    names = _selected(tuple(ids), config.series)
    columns = [list(ids).index(name) for name in names]
    union_kept = present[:, columns].any(axis=1)
    _check_spans(present[union_kept][:, columns], union[union_kept], names, config.fill)
    values = np.full(present.shape, np.nan)
    wanted = np.isin(codes, columns)
    # only a missing stamp may be left empty by the grid below; a missing value is found here, with its row
    values[rows[wanted], codes[wanted]] = _numbers(_column(frame.loc[wanted], "y"), stamps[wanted])
    return union[union_kept], values[union_kept][:, columns], names


def _check_spans(present: np.ndarray, stamps: pd.DatetimeIndex, names: tuple[str, ...], fill: str) -> None:
    """Refuse series that lack stamps which others have; with a fill, only those that begin or end differently."""
    lacking = (
        ~present if fill == "refuse" else ~present & np.isin(np.arange(len(stamps)), (0, len(stamps) - 1))[:, None]
    )
    if not lacking.any():
        return
    column = int(np.argmax(lacking.any(axis=0)))
    stamp = stamps[int(np.argmax(lacking[:, column]))]
    others = int(lacking.any(axis=0).sum()) - 1
    raise DataError(
        f"series {names[column]!r} lacks {int((~present[:, column]).sum())} stamps that other series have, such as "
        f"{stamp}" + (f" (and {others} more series lack some)" if others else "") + "; expected the same stamps for "
        "all: cut the series to a common span, choose some with --series, or close inner gaps with --fill forward"
    )


def _time_column(frame: pd.DataFrame, given: str | None) -> str:
    if given is not None:
        if given not in frame.columns:
            raise DataError(f"no time column {given!r}; the columns are {_listed(frame.columns)}")
        return given
    found = [name for name in frame.columns if looks_like_stamps(_column(frame, name))]
    usual = [name for name in found if name.casefold() in _TIME_NAMES]
    if len(found) == 1 or len(usual) == 1:
        return (usual or found)[0]
    if not found:
        raise DataError(
            f"no column of dates among {_listed(frame.columns)}; expected one time column such as 2018-01-31 13:00"
        )
    raise DataError(f"several columns hold dates: {_listed(found)}; say which is the clock with --time")


def _selected(names: tuple[str, ...], series: str | None) -> tuple[str, ...]:
    wanted = names if series is None else split_names(series)
    missing = next((name for name in wanted if name not in names), None)
    if missing is not None:
        raise DataError(f"no series {missing!r}; the table has {_listed(names)}")
    if len(set(wanted)) < len(wanted):
        raise DataError(f"a series is asked for twice in {series!r}")
    if not wanted:
        raise DataError("expected at least one numeric column beside the time column, got none")
    return wanted


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    return cast(pd.Series, frame[name])  # no two columns of one name, or it were a frame


def _listed(names: Iterable[str]) -> str:
    listed = [repr(str(name)) for name in names]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def _numbers(column: pd.Series, stamps: pd.DatetimeIndex) -> np.ndarray:
    """Return a column as float64 in its own order, NaN where a value is missing."""
    name = str(column.name)
    if name.startswith("Unnamed: "):
        raise DataError(f"column {name.removeprefix('Unnamed: ')} (from 0) has no name; name it, or leave it out")
    kind = column.dtype
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        raise DataError(f"column {name!r} holds times; expected numbers, or choose columns with --series")
    loose = column if pd.api.types.is_numeric_dtype(kind) else column.astype(object)
    numbers = cast(pd.Series, pd.to_numeric(loose, errors="coerce"))
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    unread = np.isnan(values) & column.notna().to_numpy()
    _refuse_first(unread, column, stamps, "is not numeric; mend it, or choose columns with --series")
    _refuse_first(np.isinf(values), column, stamps, "is infinite; expected finite numbers: mend or remove it")
    return values


def _refuse_first(bad: np.ndarray, column: pd.Series, stamps: pd.DatetimeIndex, why: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        row = int(column.index[at]) + 1
        raise DataError(f"column {column.name!r}, {stamps[at]}, row {row}: {column.iloc[at]} {why}")


def _ordered(stamps: pd.DatetimeIndex, series: pd.Series | None = None) -> np.ndarray:
    """Return the order that sorts the stamps, and say so where they (within a series) were not in order."""
    order = np.argsort(stamps.asi8, kind="stable")
    steps = pd.Series(stamps.asi8)
    backward = (steps.diff() if series is None else steps.groupby(series.to_numpy()).diff()) < 0
    if backward.any():
        _log.warning("stamps are not in order (first in row %d); the rows were sorted", int(np.argmax(backward)) + 1)
    return order


def _on_grid(stamps: pd.DatetimeIndex, values: np.ndarray, grid: pd.DatetimeIndex, fill: str) -> np.ndarray:
    if len(grid) == len(stamps):
        return values
    missing = grid[~grid.isin(stamps)]
    if fill == "refuse":
        raise DataError(
            f"{len(missing)} stamps are missing at frequency {grid.freqstr}, the first {missing[0]}; "
            "add them, or close gaps with --fill forward or --fill interpolate"
        )
    spread = np.full((len(grid), values.shape[1]), np.nan)
    spread[grid.get_indexer(stamps)] = values
    return spread


def _filled(values: np.ndarray, grid: pd.DatetimeIndex, names: tuple[str, ...], fill: str) -> np.ndarray:
    missing = np.isnan(values)
    if not missing.any():
        return values
    if fill == "refuse":
        column = int(np.argmax(missing.any(axis=0)))
        at = int(np.argmax(missing[:, column]))
        raise DataError(
            f"column {names[column]!r} has {int(missing[:, column].sum())} missing values, the first at {grid[at]} "
            f"(row {at + 1} in order of time); fill them, or use --fill forward or --fill interpolate"
        )
    table = pd.DataFrame(values)
    whole = table.ffill() if fill == "forward" else table.interpolate(method="linear", limit_area="inside")
    left = whole.isna().to_numpy()
    if left.any():
        column = int(np.argmax(left.any(axis=0)))
        at = int(np.argmax(left[:, column]))
        raise DataError(
            f"column {names[column]!r} has no value at {grid[at]} and none to fill it from; cut the table there"
        )
    _log.warning("%d missing values were filled (%s)", int(missing.sum()), fill)
    return whole.to_numpy(dtype=np.float64, copy=True)
