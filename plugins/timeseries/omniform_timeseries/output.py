"""Forecasts as tables: in memory, and as CSV or Parquet."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pandas as pd

from omniform.errors import ConfigError
from omniform_timeseries.metrics import Forecasts

__all__ = ["forecast_frame", "write_forecasts"]

_SUFFIXES = (".csv", ".csv.gz", ".parquet")


def forecast_frame(forecasts: Forecasts) -> pd.DataFrame:
    """Return the columns unique_id, ds, y_hat, series by series, and `cutoff` where there are several windows.

    `cutoff` is the last stamp that a forecast saw, as in Nixtla's cross-validation.
    """
    windows = forecasts.windows
    horizon, names = windows.horizon, windows.panel.names
    last = windows.starts + windows.lookback - 1
    stamps = np.stack([windows.future_stamps(i).asi8 for i in range(len(windows))]).reshape(len(windows), horizon)
    flat = stamps.ravel()  # (N H,)
    index = windows.panel.index
    ds = pd.DatetimeIndex(flat.view(f"M8[{index.unit}]")).tz_localize(index.tz)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(names, len(flat)),
            "ds": ds[np.tile(np.arange(len(flat)), len(names))],
            "y_hat": forecasts.values.transpose(2, 0, 1).ravel(),
        }
    )
    if len(windows) > 1:
        frame.insert(2, "cutoff", index[np.tile(np.repeat(last, horizon), len(names))])
    return frame


def write_forecasts(forecasts: Forecasts, path: Path) -> None:
    """Write `forecast_frame` to `.csv`, `.csv.gz` or `.parquet`: the whole file or none of it.

    Raises:
        ConfigError: another suffix.
    """
    suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise ConfigError(f"expected an output that ends in {', '.join(_SUFFIXES)}, got {path.name!r}")
    frame = forecast_frame(forecasts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=suffix, delete=False) as file:
        part = Path(file.name)
    try:
        frame.to_parquet(part, index=False) if suffix == ".parquet" else frame.to_csv(part, index=False)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
