"""Options of the task `impute`, and nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, fields

from omniform.configuration import option
from omniform.errors import ConfigError
from omniform_timeseries.config import Fill, ForecastConfig, NetworkConfig

__all__ = ["SHORT", "ImputeConfig"]

SHORT = 4
"""A gap of at most so many rows is short, for the scores by length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImputeConfig(NetworkConfig):
    """Options of the task `impute`; the lookback is the length of the windows that the network completes.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    lookback: int = option(96, "rows of the windows that the network completes")
    fill: Fill = option("mask", "imputation fills missing values itself: mask, nothing else")
    cells: float = option(0.1, "share of the values hidden one by one, in training and in the scores")
    gaps: float = option(0.1, "share of the values hidden in gaps of consecutive rows")
    longest: int = option(24, "rows in the longest of these gaps; lengths are log-uniform from 2")
    patch: int = option(8, "rows in a patch")
    stride: int = option(8, "rows between the starts of consecutive patches")

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        if self.fill != "mask":
            raise ConfigError(f"impute fills missing values by its network; leave out --fill {self.fill}")
        for name in ("cells", "gaps"):
            if not 0 <= getattr(self, name) < 0.5:
                raise ConfigError(f"expected {name} of at least 0 and below 0.5, got {getattr(self, name)}")
        if not self.cells and not self.gaps:
            raise ConfigError("expected cells or gaps above 0: what is never hidden, no network learns to fill")
        if not 2 <= self.longest <= self.lookback // 2:
            raise ConfigError(f"expected longest from 2 to half of the lookback {self.lookback}, got {self.longest}")
        self.model_config()  # checks the rest

    def model_config(self) -> ForecastConfig:
        """Return what builds the model: one that answers a window with as many rows."""
        shared = {field.name: getattr(self, field.name) for field in fields(NetworkConfig)}
        return ForecastConfig(**shared, horizon=self.lookback, levels=(), base="none")
