"""Views over a panel: what a forecast sees, what it must predict, and the split in time.

T = rows, C = series, N = windows, L = lookback, H = horizon
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import gcd

import numpy as np
import pandas as pd

from omniform.errors import ConfigError, DataError
from omniform.task import Splits
from omniform_timeseries.clock import season_of
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.data import Panel

__all__ = ["Scale", "Windows", "borders", "latest_window", "season_for", "split_panel", "test_stride"]

_CHUNK_BYTES = 32 * 2**20
_MOST_VALIDATION = 500
_MOST_TEST = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Statistics of the training rows, each `(C,)`, in which errors are measured.

    Attributes:
        mean, std: mean and population standard deviation (that of scikit-learn's `StandardScaler`); a constant series
            has `std` 1, as there.
        naive: mean absolute difference from the value one season before, the scale of MASE (Hyndman & Koehler 2006);
            0 for a series that repeats its season exactly.
        season: rows in a season.
    """

    mean: np.ndarray
    std: np.ndarray
    naive: np.ndarray
    season: int

    @classmethod
    def of(cls, values: np.ndarray, season: int) -> Scale:
        """Measure training rows `(T, C)`."""
        constant = np.ptp(values, axis=0) == 0  # rounding would leave a tiny deviation behind
        std = np.where(constant, 1.0, values.std(axis=0))
        steps = np.abs(values[season:] - values[:-season])
        naive = steps.mean(axis=0) if len(steps) else np.zeros(values.shape[1])
        return cls(values.mean(axis=0), std, naive, season)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of one panel, in order of time: nothing is copied until a chunk of them is asked for.

    Attributes:
        starts: `(N,)` first row of each history; the future begins `lookback` rows later.
        stride: rows between consecutive starts.
        scale: statistics of the training rows.
    """

    panel: Panel
    starts: np.ndarray
    lookback: int
    horizon: int
    stride: int
    scale: Scale

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_series(self) -> int:
        return len(self.panel.names)

    def history(self, part: slice = slice(None)) -> np.ndarray:
        """Return what the windows of a slice see, `(n, L, C)` float64."""
        return self._cut(self.starts[part], self.lookback)

    def future(self, part: slice = slice(None)) -> np.ndarray:
        """Return what they must predict, `(n, H, C)` float64.

        Raises:
            ValueError: the future of a window is not in the panel.
        """
        return self._cut(self.starts[part] + self.lookback, self.horizon)

    def last(self, part: slice = slice(None)) -> np.ndarray:
        """Return the last value that each window sees, `(n, 1, C)`."""
        return self.panel.values[self.starts[part] + self.lookback - 1][:, None]

    def chunks(self) -> Iterator[slice]:
        """Yield slices that cover all windows, each small enough to hold a few copies of in memory."""
        size = max(1, _CHUNK_BYTES // (8 * (self.lookback + self.horizon) * self.num_series))
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def history_stamps(self, window: int) -> pd.DatetimeIndex:
        """Return the stamps that one window sees."""
        start = int(self.starts[window])
        return self.panel.index[start : start + self.lookback]

    def future_stamps(self, window: int) -> pd.DatetimeIndex:
        """Return the stamps that one window predicts, beyond the end of the panel too."""
        seen = self.history_stamps(window)
        return pd.date_range(seen[-1], periods=self.horizon + 1, freq=self.panel.index.freq, unit=seen.unit)[1:]

    def _cut(self, rows: np.ndarray, length: int) -> np.ndarray:
        if len(rows) and (rows[0] < 0 or rows[-1] + length > len(self.panel)):
            raise ValueError(f"expected windows within the {len(self.panel)} rows of the panel")
        view = np.lib.stride_tricks.sliding_window_view(
            self.panel.values, length, axis=0
        )  # (T - length + 1, C, length)
        return view[rows].transpose(0, 2, 1)


def borders(index: pd.DatetimeIndex, split: str) -> tuple[int, int, int]:
    """Return the rows at which validation begins, the test begins, and the test ends.

    Row counts leave rows after their sum unused. Fractions give training and test their share, rounded down, and
    validation the rest. Dates are the first stamps of validation and of the test.

    Raises:
        ConfigError: `split` is none of the three forms.
        DataError: the panel has too few rows or does not reach the dates.
    """
    parts = [part.strip() for part in split.split(",")]
    if len(parts) == 2:
        return _date_borders(index, parts)
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(number > 0 for number in numbers):
        raise ConfigError(
            f"expected a split of three fractions (0.7,0.1,0.2), three row counts (8640,2880,2880) or two dates "
            f"(2018-01-01,2018-06-01), got {split!r}"
        )
    rows = len(index)
    if all(re.fullmatch(r"\d+", part) for part in parts):
        train, validation, test = (int(part) for part in parts)
        if train + validation + test > rows:
            raise DataError(f"split {split} needs {train + validation + test} rows, but the data has {rows}")
        return train, train + validation, train + validation + test
    if abs(sum(numbers) - 1) > 1e-6:
        raise ConfigError(f"expected fractions that sum to 1, got {split!r} with sum {sum(numbers):g}")
    # rounded first: 0.29 * 100 is 28.999999999999996
    train, test = (int(round(number * rows, 6)) for number in (numbers[0], numbers[2]))
    return train, rows - test, rows


def _date_borders(index: pd.DatetimeIndex, parts: list[str]) -> tuple[int, int, int]:
    dates = []
    for part in parts:
        try:
            date = pd.Timestamp(part) if re.match(r"\d{4}-\d", part) else None
        except ValueError:
            date = None
        if date is None:
            raise ConfigError(
                f"expected two dates such as 2018-01-01,2018-06-01 or three numbers, got {','.join(parts)!r}"
            )
        if index.tz is not None:
            date = date.tz_localize("UTC") if date.tz is None else date.tz_convert("UTC")
        elif date.tz is not None:
            raise ConfigError(f"the data's stamps have no time zone, so the split's dates can have none; got {part!r}")
        dates.append(date)
    validation, test = (int(index.searchsorted(date)) for date in dates)
    if not 0 < validation < test < len(index):
        raise DataError(
            f"split {','.join(parts)} leaves a part empty: the data runs from {index[0]} to {index[-1]}, and the first "
            "date (validation) must come before the second (test)"
        )
    return validation, test, len(index)


def season_for(panel: Panel, config: ForecastConfig) -> int:
    """Return the season asked for, or the usual one of the panel's frequency, or 1 where that exceeds the lookback."""
    if config.season is not None:
        return config.season
    season = season_of(panel.frequency)
    return season if season <= config.lookback else 1


def test_stride(panel: Panel, config: ForecastConfig) -> int:
    """Return the stride asked for; else 1 under the protocol ltsf, and what leaves at most 1000 windows otherwise."""
    if config.eval_stride is not None:
        return config.eval_stride
    _, first, stop = borders(panel.index, config.split)
    return 1 if config.protocol == "ltsf" else _thinning(stop - first, _MOST_TEST, season_for(panel, config))


def _thinning(rows: int, most: int, season: int) -> int:
    """Return the least stride that leaves at most `most` windows and meets every phase of the season."""
    return next(stride for stride in count(-(-rows // most)) if gcd(stride, season) == 1)


def split_panel(panel: Panel, config: ForecastConfig) -> Splits[Windows]:
    """Split in time, so that no value to predict lies before a value that was trained on.

    A training window lies within the training rows, future included. Validation and test windows predict rows of their
    own part alone, and may look back into the part before, as Informer's and DLinear's loaders do: a part of n rows
    has n - horizon + 1 windows. Of the test's, those `test_stride` apart are taken. Validation, which chooses among
    models many times over, is thinned to at most 500: neighbours overlap almost wholly, so little is lost. The last
    window of a part is always among them.

    Raises:
        DataError: a part is too short for one window.
    """
    train, validation, test = borders(panel.index, config.split)
    lookback, horizon = config.lookback, config.horizon
    _check_parts(train, validation - train, test - validation, config)
    season = season_for(panel, config)
    scale = Scale.of(panel.values[:train], season)

    def windows(first: int, stop: int, stride: int) -> Windows:
        last = stop - lookback - horizon
        starts = np.arange(last, first - 1, -stride, dtype=np.int64)[::-1]
        return Windows(panel, starts, lookback, horizon, stride, scale)

    return Splits(
        train=windows(0, train, 1),
        validation=windows(train - lookback, validation, _thinning(validation - train, _MOST_VALIDATION, season)),
        test=windows(validation - lookback, test, test_stride(panel, config)),
    )


def _check_parts(train: int, validation: int, test: int, config: ForecastConfig) -> None:
    need = config.lookback + config.horizon
    if train < need:
        raise DataError(
            f"the training part has {train} rows; lookback {config.lookback} and horizon {config.horizon} need {need}: "
            "give more rows, or a shorter --lookback or --horizon"
        )
    for name, rows in (("validation", validation), ("test", test)):
        if rows < config.horizon:
            raise DataError(
                f"the {name} part has {rows} rows, fewer than the horizon of {config.horizon}: give more rows, "
                "a shorter --horizon, or another --split"
            )


def latest_window(panel: Panel, config: ForecastConfig) -> Windows:
    """Return the one window whose future begins where the panel ends.

    Raises:
        DataError: the panel is shorter than the lookback.
    """
    if len(panel) < config.lookback:
        raise DataError(f"a forecast looks back {config.lookback} rows, but the data has {len(panel)}; give more rows")
    scale = Scale.of(panel.values, season_for(panel, config))
    starts = np.array([len(panel) - config.lookback], dtype=np.int64)
    return Windows(panel, starts, config.lookback, config.horizon, 1, scale)
