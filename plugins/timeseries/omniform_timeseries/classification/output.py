"""Predicted classes as tables: in memory, and as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omniform.classification import Predictions
from omniform_timeseries.output import write_frame

__all__ = ["prediction_frame", "write_predictions"]


def prediction_frame(predictions: Predictions) -> pd.DataFrame:
    """Return a row a case: unique_id, label (the likeliest class) and a column `probability_CLASS` for each class."""
    frame = pd.DataFrame({"unique_id": list(predictions.items.ids), "label": list(predictions.labels)})
    names = [f"probability_{name}" for name in predictions.classes]
    return pd.concat([frame, pd.DataFrame(predictions.probabilities, columns=names)], axis=1)


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write `prediction_frame` to `.csv`, `.csv.gz` or `.parquet`: the whole file or none of it.

    Raises:
        ConfigError: another suffix.
    """
    write_frame(prediction_frame(predictions), path)
