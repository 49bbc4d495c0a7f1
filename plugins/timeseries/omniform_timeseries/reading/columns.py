"""Columns of a data frame: their names, the clock among them, and their numbers."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from numbers import Real
from typing import cast

import numpy as np
import pandas as pd

from omniform.configuration import split_names
from omniform.errors import DataError
from omniform_timeseries.clock import as_text, looks_like_stamps
from omniform_timeseries.config import PanelConfig
from omniform_timeseries.data import MAX_COLUMNS

__all__ = [
    "column_of",
    "covariate_columns",
    "listed",
    "named_columns",
    "numbers",
    "order_of",
    "refuse_signalling",
    "selected",
    "series_names",
    "shown",
    "time_column",
]

_TIME_NAMES = frozenset({"ds", "date", "time", "timestamp", "datetime"})
_COMMA = re.compile(r"[+-]?\d[\d. ']*,\d+|[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_log = logging.getLogger(__name__)


def named_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a `DatetimeIndex` as a column, names stripped, and rows counted from 0.

    Raises:
        DataError: two columns have one name, there are too many, or one holds a signalling NaN.
    """
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.reset_index(names=frame.index.name or "ds")
    if frame.shape[1] > MAX_COLUMNS:
        raise DataError(f"{frame.shape[1]} columns, expected at most {MAX_COLUMNS}; is the table transposed?")
    frame = frame.set_axis([_clean(name) for name in frame.columns], axis=1)
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"several columns are called {repeated[0]!r}; rename all but one")
    refuse_signalling(frame)
    return frame.reset_index(drop=True)


def refuse_signalling(frame: pd.DataFrame) -> None:
    """Refuse decimals that raise when they are so much as compared.

    Raises:
        DataError: a column holds one.
    """
    for name in (name for name in frame.columns if pd.api.types.is_object_dtype(frame[name].dtype)):
        for row, value in enumerate(frame[name]):
            if isinstance(value, Decimal) and value.is_snan():
                raise DataError(f"column {name!r}, row {row + 1}: a signalling NaN; expected a number or nothing")


def series_names(column: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return for each row the place of its series, and the series in order of appearance.

    Raises:
        DataError: a name is missing.
    """
    codes, found = pd.factorize(as_text(column))
    merged, names = pd.factorize(np.array([_clean(name) for name in found], dtype=object))
    codes = np.append(merged, -1)[codes]
    nameless = (codes < 0) | np.isin(codes, np.flatnonzero(np.asarray(names) == ""))
    if nameless.any():
        raise DataError(f"{column.name} is missing in row {int(np.argmax(nameless)) + 1}")
    return codes, tuple(names)


def _clean(name: object) -> str:
    """Return a name without surrounding blanks and marks that nobody sees, its accents composed."""
    return unicodedata.normalize("NFC", str(name)).strip().strip("\ufeff\u200b\u2060").strip()


def time_column(frame: pd.DataFrame, given: str | None) -> str:
    """Return the name of the column of stamps: the one given, or the only one of dates, or the only one so called.

    Raises:
        DataError: there is none, or one cannot tell which.
    """
    if given is not None:
        if given not in frame.columns:
            raise DataError(f"no time column {given!r}; the columns are {listed(frame.columns)}")
        return given
    found = [name for name in frame.columns if looks_like_stamps(column_of(frame, name))]
    usual = [name for name in found if name.casefold() in _TIME_NAMES]
    if len(found) == 1 or len(usual) == 1:
        return (usual or found)[0]
    if not found:
        raise DataError(
            f"no column of dates among {listed(frame.columns)}; expected one time column such as 2018-01-31 13:00"
        )
    raise DataError(f"several columns hold dates: {listed(found)}; say which is the clock with --time")


def selected(names: tuple[str, ...], series: str | None) -> tuple[str, ...]:
    """Return the series asked for, all of them by default.

    Raises:
        DataError: one is absent or asked for twice, or there is none.
    """
    wanted = names if series is None else split_names(series)
    missing = next((name for name in wanted if name not in names), None)
    if missing is not None:
        raise DataError(f"no series {missing!r}; the table has {listed(names)}")
    if len(set(wanted)) < len(wanted):
        raise DataError(f"a series is asked for twice in {series!r}")
    if not wanted:
        raise DataError("expected at least one numeric column beside the time column, got none")
    return wanted


def covariate_columns(frame: pd.DataFrame, config: PanelConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the past covariates, and those known ones that the frame itself holds.

    Raises:
        DataError: a past covariate is absent.
    """
    past, known = config.covariates("past"), config.covariates("known")
    absent = next((name for name in past if name not in frame.columns), None)
    if absent is not None:
        raise DataError(f"no column {absent!r}, which --past names; the columns are {listed(frame.columns)}")
    return past, tuple(name for name in known if name in frame.columns)


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return one column; no two have the same name."""
    return cast(pd.Series, frame[name])


def listed(names: Iterable[str]) -> str:
    """Return the first eight names, quoted, and how many more there are."""
    quoted = [repr(str(name)) for name in names]
    return ", ".join(quoted[:8]) + (f" and {len(quoted) - 8} more" if len(quoted) > 8 else "")


def shown(value: object) -> str:
    """Return a cell as one short line."""
    text = str(value)
    if not text.isprintable() or text != text.strip():
        text = repr(text)
    return text if len(text) <= 40 else f"{text[:37]}..."


def numbers(column: pd.Series, stamps: pd.DatetimeIndex | None = None) -> np.ndarray:
    """Return a column as float64 in its own order, NaN where a value is missing.

    Raises:
        DataError: a value is no number, or infinite; its row and its stamp (where given) are named.
    """
    name = str(column.name)
    if not name:
        raise DataError("a column has no name; name it, or leave it out")
    if name.startswith("Unnamed: "):
        raise DataError(f"column {name.removeprefix('Unnamed: ')} (from 0) has no name; name it, or leave it out")
    kind = column.dtype
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        raise DataError(f"column {name!r} holds times; expected numbers, or choose columns with --series")
    if pd.api.types.is_complex_dtype(kind):
        raise DataError(f"column {name!r} holds complex numbers; expected real ones, or choose columns with --series")
    loose = column if pd.api.types.is_numeric_dtype(kind) else column.astype(object).map(_loosened)
    coerced = cast(pd.Series, pd.to_numeric(loose, errors="coerce"))
    values = coerced.to_numpy(dtype=np.float64, na_value=np.nan)
    unread = np.isnan(values) & loose.notna().to_numpy(dtype=bool)
    _refuse_first(unread, column, stamps, "is not numeric; mend it, or choose columns with --series")
    _refuse_first(np.isinf(values), column, stamps, "is infinite; expected finite numbers: mend or remove it")
    return values


def _loosened(cell: object) -> object:
    """Return a cell as a plain number or as text; blank text is missing."""
    if isinstance(cell, str):
        return cell.strip() or None
    if cell is None or isinstance(cell, bool | np.bool | float) or pd.isna(cell) is True:
        return cell
    if isinstance(cell, Real | Decimal):
        try:
            return float(cell)
        except OverflowError:
            return float("inf")
    return str(cell)


def _refuse_first(bad: np.ndarray, column: pd.Series, stamps: pd.DatetimeIndex | None, why: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        row, cell = int(column.index[at]) + 1, column.iloc[at]
        if isinstance(cell, str) and _COMMA.fullmatch(cell.strip()):
            why = "is not numeric: write decimals with a point and no separator of thousands, such as 1234.5"
        when = f" {stamps[at]}," if stamps is not None else ""
        raise DataError(f"column {str(column.name)!r},{when} row {row}: {shown(cell)} {why}")


def order_of(stamps: pd.DatetimeIndex, series: pd.Series | None = None) -> np.ndarray:
    """Return the order that sorts the stamps, and say so where they (within a series) were not in order."""
    order = np.argsort(stamps.asi8, kind="stable")
    steps = pd.Series(stamps.asi8)
    backward = (steps.diff() if series is None else steps.groupby(series.to_numpy()).diff()) < 0
    if backward.any():
        _log.warning("stamps are not in order (first in row %d); the rows were sorted", int(np.argmax(backward)) + 1)
    return order
