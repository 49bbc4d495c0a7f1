"""Stamps: parsing them, the frequency they keep, and the season that a frequency suggests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from omniform.errors import ConfigError, DataError

__all__ = ["looks_like_stamps", "parse_stamps", "regular_grid", "season_of"]

_ZONE = re.compile(r"(Z|UTC|:\d\d(\.\d+)?\s*[+-]\d\d(:?\d\d)?)$")
_SLASHED = re.compile(r"\d{1,2}[/.]\d{1,2}[/.]\d{4}")
_DATED = re.compile(r"\d{4}[-/]\d{1,2}|\d{8}|\d{1,2}[/.]\d{1,2}[/.]\d{4}")
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAY = 86_400_000_000  # microseconds
_SEASONS = {"D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "QS": 4, "QE": 4, "YS": 1, "YE": 1}


def looks_like_stamps(column: pd.Series) -> bool:
    """Say whether a column holds dates, judged by its type or by its first value."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return True
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return False
    present = column.dropna()
    return len(present) > 0 and _DATED.match(str(present.iloc[0]).strip()) is not None


def parse_stamps(column: pd.Series) -> pd.DatetimeIndex:
    """Read a column as stamps; with a zone or an offset they become UTC, without they stay as they are.

    Text is ISO 8601, or day/month/year with four-digit years where only one order of day and month fits all rows.

    Raises:
        DataError: a stamp is missing or unreadable, day and month cannot be told apart, or only some have a zone.
    """
    name = column.name
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        stamps = pd.DatetimeIndex(column)
    elif pd.api.types.is_numeric_dtype(column.dtype):
        raise DataError(f"time column {name!r} holds numbers; expected dates such as 2018-01-31 or 2018-01-31 13:00")
    else:
        stamps = _parse_text(column.astype("string").str.strip(), str(name))
    if stamps.hasnans:
        row = int(np.argmax(stamps.isna()))
        raise DataError(
            f"time column {name!r}, row {row + 1}: expected a date such as 2018-01-31 13:00, got {column.iloc[row]!r}"
        )
    return stamps.tz_convert("UTC") if stamps.tz is not None else stamps


def _parse_text(text: pd.Series, name: str) -> pd.DatetimeIndex:
    present = text.fillna("")
    zoned = present.map(lambda value: _ZONE.search(value) is not None).to_numpy(bool)
    if zoned.any() and not zoned.all():
        row = int(np.argmax(zoned != zoned[0]))
        raise DataError(f"time column {name!r}, row {row + 1}: expected a time zone on every stamp or on none")
    if present.str.match(_SLASHED).any():
        return _parse_slashed(text, name)
    stamps = pd.DatetimeIndex(pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True))
    return stamps if zoned.any() else stamps.tz_localize(None)


def _parse_slashed(text: pd.Series, name: str) -> pd.DatetimeIndex:
    fields = text.str.extract(r"^(\d{1,2})[/.](\d{1,2})[/.](\d{4})(.*)$")
    time = fields[3].str.strip().str.replace(r"^(\d):", r"0\1:", regex=True).radd(" ").str.rstrip()
    readings = []
    for month, day in ((0, 1), (1, 0)):
        iso = fields[2] + "-" + fields[month].str.zfill(2) + "-" + fields[day].str.zfill(2) + time
        readings.append(pd.DatetimeIndex(pd.to_datetime(iso, format="ISO8601", errors="coerce")))
    month_first, day_first = readings
    if not month_first.hasnans and not day_first.hasnans and not month_first.equals(day_first):
        raise DataError(
            f"time column {name!r}: {text.iloc[0]!r} may be day/month or month/day; write dates as 2018-01-31"
        )
    return min(readings, key=lambda reading: int(reading.isna().sum()))


def regular_grid(stamps: pd.DatetimeIndex, frequency: str | None) -> pd.DatetimeIndex:
    """Return the regular stamps from first to last that contain all of the increasing, distinct `stamps`.

    The grid is longer than `stamps` where there are gaps. Without `frequency`, the finest common step and then
    years, quarters, months and business days are tried.

    Raises:
        DataError: no frequency fits, or there would be more gaps than stamps.
    """
    if len(stamps) < 3 and frequency is None:
        raise DataError(f"expected at least 3 stamps to infer a frequency, got {len(stamps)}; give more rows")
    if len(stamps) > 1 and _steps(stamps).min() < 1:
        raise DataError("expected stamps at least a microsecond apart, got closer ones")
    candidates = _candidates(stamps) if frequency is None else (_checked(frequency),)
    for candidate in candidates:
        grid = _grid(stamps, candidate)
        if grid is not None:
            return grid
    if frequency is not None:
        raise DataError(f"the stamps from {stamps[0]} to {stamps[-1]} do not keep the frequency {frequency!r}")
    step = _common_step(stamps)
    at = int(np.argmax(_steps(stamps) != step))
    raise DataError(
        f"irregular stamps: the common step is {_step_name(step)}, but {stamps[at + 1]} follows {stamps[at]}; "
        "resample to one frequency, or name it with --frequency and close the gaps with --fill"
    )


def _checked(frequency: str) -> str:
    try:
        return to_offset(frequency).freqstr
    except ValueError:
        raise ConfigError(f"expected a pandas frequency such as h, 30min, D or MS, got {frequency!r}") from None


def _common_step(stamps: pd.DatetimeIndex) -> int:
    """Return the most frequent step, the shortest of equals, in microseconds."""
    steps, counts = np.unique(_steps(stamps), return_counts=True)
    return int(steps[np.argmax(counts)])


def _steps(stamps: pd.DatetimeIndex) -> np.ndarray:
    return np.diff(stamps.as_unit("us").asi8)


def _candidates(stamps: pd.DatetimeIndex) -> Iterator[str]:
    step = _common_step(stamps)
    weekdays = np.asarray(stamps.day_of_week)
    # a five-day week is a frequency of its own, not daily data with gaps
    if step == _DAY and weekdays.max() < 5 and len(stamps) > 5:
        yield "B"
    yield f"W-{_WEEKDAYS[weekdays[0]]}" if step == 7 * _DAY else _step_name(step)
    if step >= 28 * _DAY:
        yield from (f"Y{edge}-{month}" for edge in "SE" for month in _MONTHS)
        yield from (f"Q{edge}-{month}" for edge in "SE" for month in _MONTHS[:3])
        yield from ("MS", "ME")


def _step_name(step: int) -> str:
    return f"{step // _DAY}D" if step % _DAY == 0 else to_offset(timedelta(microseconds=step)).freqstr


def _grid(stamps: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex | None:
    most = 2 * len(stamps) + 2  # with more gaps than stamps it is no grid of theirs
    grid = pd.date_range(stamps[0], periods=most, freq=frequency, unit=stamps.unit)
    grid = grid[grid <= stamps[-1]]
    return grid if len(stamps.difference(grid)) == 0 else None


def season_of(frequency: str) -> int:
    """Return the usual season of a frequency: a day for hours, a week for days, a year for longer steps; else 1."""
    offset = to_offset(frequency)
    try:
        step = offset.nanos / 1000
    except ValueError:  # a step of the calendar has no fixed length
        step = _DAY
    if 0 < step < _DAY:
        return int(_DAY // step) if _DAY % step == 0 else 1
    period = _SEASONS.get(offset.rule_code.partition("-")[0], 1)
    return period // offset.n if period % offset.n == 0 else 1
