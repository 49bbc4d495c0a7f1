"""Options of the task `detect`, and nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from omniform.configuration import option
from omniform.errors import ConfigError
from omniform_timeseries.config import Fill, ForecastConfig, NetworkConfig

__all__ = ["DetectConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectConfig(NetworkConfig):
    """Options of the task `detect`.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    fill: Fill = option(
        "mask",
        "what to do about missing values and stamps: leave them out (mask), refuse, repeat the last value (forward), "
        "or draw a straight line (interpolate)",
    )
    alarm_rate: float = option(0.001, "share of ordinary rows that may be flagged: the expected rate of false alarms")
    horizon: int = option(24, "rows ahead: a row is compared with forecasts made 1 to so many rows before it")
    calibration: int = option(5000, "newest ordinary rows that alarms are calibrated on, at most")
    labels: str | None = option(None, "a column of 0 and 1 that marks known anomalies: not learnt from, but scored on")
    base: Literal["ridge", "none"] = option(
        "ridge", "ridge: the network learns what a ridge forecast leaves over; none: it learns everything"
    )

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        if not 0 < self.alarm_rate <= 0.1:
            raise ConfigError(f"expected an alarm rate above 0 and at most 0.1, got {self.alarm_rate}")
        if not self.calibration * self.alarm_rate >= 1:
            raise ConfigError(
                f"an alarm rate of {self.alarm_rate:g} shows in {round(1 / self.alarm_rate)} rows; "
                f"expected calibration of at least that, got {self.calibration}"
            )
        if self.labels is not None and self.resample != "refuse":
            raise ConfigError("labels are of single rows; leave out --resample, or --labels")
        self.forecaster()  # checks the rest

    def check_count(self, count: int) -> None:
        """Refuse an alarm rate that so few values of validation cannot show.

        Raises:
            ConfigError: with what to do.
        """
        if count * self.alarm_rate < 1:
            raise ConfigError(
                f"an alarm rate of {self.alarm_rate:g} shows in {round(1 / self.alarm_rate)} values, but "
                f"validation has {count}; raise --alarm-rate, or give more rows or a larger validation part in --split"
            )

    def forecaster(self) -> ForecastConfig:
        """Return the options of the forecaster whose residuals are judged."""
        shared = {field.name: getattr(self, field.name) for field in fields(NetworkConfig)}
        return ForecastConfig(**shared, horizon=self.horizon, base=self.base, levels=(), eval_stride=1)
