"""What a forecast depends on, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from omniform.errors import ConfigError

__all__ = ["ForecastConfig", "join_names", "split_names"]


def split_names(text: str) -> tuple[str, ...]:
    """Read names separated by commas; a name that holds a comma is quoted as in CSV."""
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))


def join_names(names: Iterable[str]) -> str:
    """Write names so that `split_names` reads them back."""
    quoted = (f'"{name.replace(chr(34), chr(34) * 2)}"' if re.search(r'[",\s]', name) else name for name in names)
    return ",".join(quoted)


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastConfig:
    """Options of the task `forecast`.

    `season`, `series`, `frequency` and `eval_stride` are inferred from the data when absent; `Forecast.resolve` writes
    down what was inferred.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    protocol: Literal["native", "ltsf"] = _option(
        "native", "native: the data's own units and MASE; ltsf: the literature's z-scored MSE and MAE, every window"
    )
    split: str = _option(
        "0.7,0.1,0.2",
        "train, validation, test as fractions (0.7,0.1,0.2) or row counts (8640,2880,2880), "
        "or the dates on which validation and test begin (2018-01-01,2018-06-01)",
    )
    lookback: int = _option(168, "rows that a forecast sees")
    horizon: int = _option(24, "rows that a forecast predicts")
    season: int | None = _option(None, "rows in a season (from the frequency by default: 24 for hourly data)")
    frequency: str | None = _option(None, "pandas frequency such as h, D or MS (inferred from the stamps by default)")
    time: str | None = _option(None, "the time column (found by default)")
    series: str | None = _option(None, "the series to forecast, separated by commas (all by default)")
    fill: Literal["refuse", "forward", "interpolate"] = _option(
        "refuse", "what to do about missing values and stamps: refuse, repeat the last value, or a straight line"
    )
    eval_stride: int | None = _option(
        None, "rows between consecutive test windows (by default 1 for ltsf, else few enough for 1000 windows)"
    )
    model: Literal["patch", "itransformer", "patchtsmixer"] = _option("patch", "the network around the mixer")
    patch: int = _option(16, "rows in a patch")
    stride: int = _option(16, "rows between the starts of consecutive patches")
    linear: bool = _option(True, "patch: add a linear map of the whole lookback to the forecast")
    dropout: float = _option(0.1, "share of activations dropped in training")

    def __post_init__(self) -> None:
        _check_choices(self)
        for name in ("lookback", "horizon", "patch", "stride"):
            _check_positive(name, getattr(self, name))
        for name in ("season", "eval_stride"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        if self.season is not None and self.season > self.lookback:
            raise ConfigError(f"expected a season within the lookback of {self.lookback} rows, got {self.season}")
        if self.protocol == "ltsf" and self.eval_stride not in (None, 1):
            raise ConfigError(f"protocol ltsf scores every window: expected eval_stride 1, got {self.eval_stride}")
        if self.patch > self.lookback:
            raise ConfigError(f"expected a patch within the lookback of {self.lookback} rows, got {self.patch}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")
        if self.series is not None and not all(split_names(self.series) or ("",)):
            raise ConfigError(f"expected names of series separated by commas, got {self.series!r}")


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"expected {name} to be a whole number of at least 1, got {value!r}")


def _check_choices(config: ForecastConfig) -> None:
    choices = {
        "protocol": ("native", "ltsf"),
        "fill": ("refuse", "forward", "interpolate"),
        "model": ("patch", "itransformer", "patchtsmixer"),
    }
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ConfigError(f"expected {name} to be one of {', '.join(allowed)}, got {getattr(config, name)!r}")
