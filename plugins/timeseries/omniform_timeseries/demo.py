"""The main job on embedded data: which mixer forecasts Victoria's electricity demand best, and does it beat a ridge?"""

from __future__ import annotations

from pathlib import Path

from omniform.compare import CompareResult, compare
from omniform.task import Budget
from omniform.training.config import Training
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.task import Forecast

__all__ = ["run"]

MIXERS = ("attention", "gla", "convmixer")


def run(out: Path) -> CompareResult:
    """Compare three mixers on the sample, a week of hours to the next day; about three minutes on two cores.

    The learning rate is given rather than searched for, and there is one seed: a demonstration, not a result.
    """
    return compare(
        Forecast(),
        "sample",
        ForecastConfig(lookback=168, horizon=24),
        domain="timeseries",
        mixers=MIXERS,
        budget=Budget(seconds=35),
        training=Training(learning_rate=2e-3, validate_every=0.2),
        params=100_000,
        depth=2,
        seeds=1,
        out=out,
        command="omniform demo --domain timeseries",
    )
