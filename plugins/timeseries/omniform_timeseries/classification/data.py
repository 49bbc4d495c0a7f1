"""What can be read as cases: `.ts` archives, long tables, data frames and the embedded sample."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from omniform.configuration import split_names
from omniform.errors import DataError
from omniform_timeseries.classification.archive import is_archive, read_archive, read_pair
from omniform_timeseries.classification.collection import Collection
from omniform_timeseries.classification.frame import collection_from_frame
from omniform_timeseries.data import read_table
from omniform_timeseries.sample import load_sample

if TYPE_CHECKING:
    from omniform_timeseries.classification.config import ClassifyConfig

__all__ = ["read_collection", "sample_days"]

_log = logging.getLogger(__name__)


def read_collection(source: str | Path | pd.DataFrame, config: ClassifyConfig, *, labelled: bool = True) -> Collection:
    """Read `"sample"`, a data frame, a `.ts` file, a folder with an official split, or a long table.

    Args:
        labelled: refuse cases without labels.

    Raises:
        DataError: `archive` and `frame` state the rules.
    """
    wanted = None if config.channels is None else split_names(config.channels)
    collection = _read(source, wanted)
    if wanted is not None and collection.channels != wanted:
        collection = _select(collection, wanted)
    if labelled and collection.labels is None:
        raise DataError("the cases have no labels; expected a column `label`, or @classLabel in a .ts file")
    return collection


def sample_days() -> pd.DataFrame:
    """Return the days of 2014 in Victoria, a case each: 24 hours of demand and temperature, weekday or weekend.

    Days are those of Melbourne; the two on which clocks change have 23 or 25 hours and are left out. Public holidays
    keep the label of their day of the week, which no classifier of demand can get right.
    """
    hours = load_sample()
    local = hours["ds"].dt.tz_convert("Australia/Melbourne")
    hours = hours.loc[local.dt.year == 2014]
    local = local.loc[hours.index]
    day = local.dt.strftime("%Y-%m-%d")
    table = pd.DataFrame(
        {
            "unique_id": day,
            "ds": local.dt.hour,
            "label": np.where(local.dt.day_of_week >= 5, "weekend", "weekday"),
            "demand": hours["demand"],
            "temperature": hours["temperature"],
        }
    )
    whole = day.groupby(day).transform("size") == 24
    return table.loc[whole].reset_index(drop=True)


def _read(source: str | Path | pd.DataFrame, wanted: tuple[str, ...] | None) -> Collection:
    if isinstance(source, pd.DataFrame):
        return collection_from_frame(source, wanted)
    if str(source) == "sample":
        return collection_from_frame(sample_days(), wanted)
    path = Path(source)
    if path.is_dir():
        return read_pair(path)
    if path.is_file() and is_archive(path):
        return read_archive(path)
    return collection_from_frame(read_table(path), wanted)


def _select(collection: Collection, wanted: tuple[str, ...]) -> Collection:
    missing = next((name for name in wanted if name not in collection.channels), None)
    if missing is not None:
        raise DataError(
            f"no channel {missing!r}; the cases have {len(collection.channels)}: {', '.join(collection.channels[:8])}"
        )
    if len(collection.channels) > len(wanted):
        _log.warning("%d channels were not asked for and left out", len(collection.channels) - len(wanted))
    index = [collection.channels.index(name) for name in wanted]
    values = tuple(np.ascontiguousarray(case[:, index]) for case in collection.values)
    empty = next((name for name, case in zip(collection.ids, values, strict=True) if np.isnan(case).all()), None)
    if empty is not None:
        raise DataError(f"case {empty!r} has no value in the channels {', '.join(wanted)}; leave it out")
    return replace(collection, values=values, channels=wanted)
