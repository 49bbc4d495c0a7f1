"""What the Python classes of the tasks over tables share: a data frame, a file or `"sample"` in, data frames out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import pandas as pd

from omniform.learner import Learner

__all__ = ["Table", "TableLearner", "scores_frame"]

ConfigT = TypeVar("ConfigT")
Table = pd.DataFrame | str | Path


class TableLearner(Learner[ConfigT]):
    """One network of a task of time series, from table to table."""

    domain: ClassVar[str] = "timeseries"

    def fit(self, df: Table, *, budget: str = "1m", progress: bool = True) -> Self:
        """Train on a data frame, a file, or `"sample"`; a budget is a time (`"90s"`, `"2m"`) or steps (`"300"`).

        Raises:
            DataError: the data is refused.
            ConfigError: unknown mixer, or no such budget.
            SizeError: the parameters cannot be met.
        """
        self._fit(self._read(df, self.config), df, budget=budget, progress=progress)
        return self

    def evaluate(self, df: Table | None = None) -> pd.DataFrame:
        """Return the test scores of the network and, beneath, of the floors, fitted to the same data.

        Args:
            df: other data, which is split as the training data was.

        Raises:
            ConfigError: nothing was fitted, or a loaded network was given no data.
            DataError: `df` is refused.
        """
        return scores_frame(self._scores(None if df is None else self._read(df, self._ready().config)))

    def _read(self, df: Table, config: ConfigT) -> Any:
        task: Any = self.task  # reads frames too
        return task.read(df, config)

    def _items(self, df: Table) -> Any:
        """Return what to predict from, out of new data."""
        task: Any = self.task
        return task.predictor_items(df, self._ready().config)


def scores_frame(scores: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Return a row a model and a column a metric."""
    return pd.DataFrame.from_dict(scores, orient="index").rename_axis("model")
