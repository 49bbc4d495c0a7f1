"""Completed tables, in the form that they came in, with a column that says what was filled."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omniform.configuration import join_names, split_names
from omniform_timeseries.imputation.metrics import Imputed

__all__ = ["FLAG", "completed_frame", "count_filled"]

FLAG = "filled"


def completed_frame(imputed: Imputed) -> pd.DataFrame:
    """Return the completed table.

    Wide: `ds`, a column for each series, and `filled`, which names the series filled in that row, separated by commas.
    Long: unique_id, ds, y, and `filled`, true or false. Rows that the clock lacked are there; values that were observed
    are what they were, bit for bit. Columns that are no series are left out.
    """
    return _long(imputed) if imputed.items.long else _wide(imputed)


def count_filled(frame: pd.DataFrame) -> dict[str, int]:
    """Count the values filled in each series of a `completed_frame`; series without any are left out."""
    if "unique_id" in frame.columns and frame[FLAG].dtype == bool:
        counts = frame.loc[frame[FLAG], "unique_id"].value_counts(sort=False)
    else:
        counts = pd.Series([name for names in frame[FLAG] for name in split_names(names)]).value_counts(sort=False)
    return {str(name): int(count) for name, count in counts.items()}


def _wide(imputed: Imputed) -> pd.DataFrame:
    items = imputed.items
    names = items.panel.names
    frame = pd.DataFrame(imputed.values, columns=list(names))
    frame.insert(0, "ds", items.stamps, allow_duplicates=True)
    which = [join_names(name for name, one in zip(names, row, strict=True) if one) for row in _filled(imputed)]
    frame.insert(frame.shape[1], FLAG, which, allow_duplicates=True)
    return frame


def _long(imputed: Imputed) -> pd.DataFrame:
    items = imputed.items
    names = np.array(items.panel.names, dtype=object)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(names, len(items)),
            "ds": items.stamps[np.tile(np.arange(len(items)), len(names))],
            "y": imputed.values.T.ravel(),
            FLAG: _filled(imputed).T.ravel(),
        }
    )
    return frame.loc[frame["y"].notna()].reset_index(drop=True)


def _filled(imputed: Imputed) -> np.ndarray:
    return imputed.items.wanted & ~np.isnan(imputed.values)
