"""What the tasks depend on, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from omniform.configuration import check_choices, option, split_names
from omniform.errors import ConfigError

__all__ = [
    "Channels",
    "Fill",
    "ForecastConfig",
    "ModelName",
    "NetworkConfig",
    "PanelConfig",
    "Resample",
]

ModelName = Literal["patch", "itransformer", "patchtsmixer", "gateformer", "time2vec", "bdm"]
Channels = Literal["independent", "mix", "hybrid"]
Fill = Literal["refuse", "forward", "interpolate", "mask"]
Resample = Literal["refuse", "mean", "sum", "last"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelConfig:
    """How a table becomes series on one clock, and how they are split in time.

    `season`, `series` and `frequency` are inferred from the data when absent; a task's `resolve` writes down what was
    inferred.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    split: str = option(
        "0.7,0.1,0.2",
        "train, validation, test as fractions (0.7,0.1,0.2) or row counts (8640,2880,2880), "
        "or the dates on which validation and test begin (2018-01-01,2018-06-01)",
    )
    lookback: int = option(168, "rows that the network sees")
    season: int | None = option(None, "rows in a season (from the frequency by default: 24 for hourly data)")
    frequency: str | None = option(None, "pandas frequency such as h, D or MS (inferred from the stamps by default)")
    time: str | None = option(None, "the time column (found by default)")
    series: str | None = option(None, "the series to model, separated by commas (all by default)")
    fill: Fill = option(
        "refuse",
        "what to do about missing values and stamps: refuse, repeat the last value (forward), draw a straight line "
        "(interpolate), or leave them out of loss and scores (mask)",
    )
    resample: Resample = option(
        "refuse",
        "what to do about stamps off the clock: refuse, or take the mean, sum or last of each --frequency step",
    )
    irregular: bool = option(False, "take stamps as they come: no clock, the time between rows is a covariate")
    past: str | None = option(None, "columns known only once their row has passed, separated by commas")
    known: str | None = option(None, "columns known in advance of their row, separated by commas")
    known_data: str | None = option(
        None,
        "a table of the --known columns (and unique_id where they differ by series) that reaches into the future; a "
        "column issued makes it one of revisions",
    )
    static_data: str | None = option(None, "a table with a row per unique_id: constant covariates of the series")
    calendar: bool = option(False, "add hour, weekday and season of the year to the known covariates")
    allow_leak: str | None = option(None, "covariates that may look as if they told the future, separated by commas")

    def __post_init__(self) -> None:
        check_choices(self, {"fill": Fill, "resample": Resample})
        _check_positive(self, ("lookback", "season"))
        if self.season is not None and self.season > self.lookback:
            raise ConfigError(f"expected a season within the lookback of {self.lookback} rows, got {self.season}")
        for name in ("series", "past", "known", "allow_leak"):
            value = getattr(self, name)
            if value is not None and not all(split_names(value) or ("",)):
                raise ConfigError(f"expected names separated by commas for {name}, got {value!r}")
        both = set(self.covariates("past")) & set(self.covariates("known"))
        if both:
            raise ConfigError(f"expected a covariate to be past or known, got {min(both)!r} as both")
        if self.resample != "refuse" and (self.frequency is None or self.irregular):
            raise ConfigError("--resample puts rows on a clock: give --frequency, and leave out --irregular")
        if self.irregular and self.frequency is not None:
            raise ConfigError(f"irregular stamps keep no frequency; leave out --frequency {self.frequency}")

    def covariates(self, kind: Literal["past", "known"]) -> tuple[str, ...]:
        """Return the names of the past or known columns."""
        names = getattr(self, kind)
        return split_names(names) if names else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig(PanelConfig):
    """The network of a task over panels.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    model: ModelName = option("patch", "the network around the mixer")
    channels: Channels = option(
        "independent",
        "patchtsmixer: independent: series never see each other; mix: every layer mixes them; hybrid: each forecast "
        "point is refined from its neighbours in all series",
    )
    correlation: float = option(0.5, "time2vec: correlation of changes above which another series becomes an input")
    patch: int = option(16, "rows in a patch")
    stride: int = option(16, "rows between the starts of consecutive patches")
    dropout: float = option(0.1, "share of activations dropped in training")

    def __post_init__(self) -> None:
        PanelConfig.__post_init__(self)
        check_choices(self, {"model": ModelName, "channels": Channels})
        _check_positive(self, ("patch", "stride"))
        if self.patch > self.lookback:
            raise ConfigError(f"expected a patch within the lookback of {self.lookback} rows, got {self.patch}")
        if self.model != "patchtsmixer" and self.channels != "independent":
            raise ConfigError(f"channels belong to the model patchtsmixer, got {self.channels} for {self.model}")
        if not 0 <= self.correlation <= 1:
            raise ConfigError(f"expected a correlation from 0 to 1, got {self.correlation}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"expected a dropout of at least 0 and below 1, got {self.dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastConfig(NetworkConfig):
    """Options of the task `forecast`.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    protocol: Literal["native", "ltsf"] = option(
        "native", "native: the data's own units and MASE; ltsf: the literature's z-scored MSE and MAE, every window"
    )
    horizon: int = option(24, "rows that a forecast predicts")
    eval_stride: int | None = option(
        None, "rows between consecutive test windows (by default 1 for ltsf, else few enough for 1000 windows)"
    )
    levels: tuple[int, ...] = option((80, 95), "conformal intervals to give, in per cent; empty for none")
    quantiles: tuple[float, ...] = option((), "quantiles that the network itself learns, such as 0.1,0.5,0.9")
    floors: Literal["quick", "all"] = option(
        "quick",
        "simple baselines beside every score; all adds automatic exponential smoothing (statsmodels, about a tenth of "
        "a second a series)",
    )
    base: Literal["ridge", "none"] = option(
        "ridge", "ridge: the network learns what the ridge floor leaves over; none: it learns everything"
    )
    pretrain: int = option(0, "patch, patchtsmixer: steps of masked pretraining before the training proper")

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        check_choices(self, {"protocol": ("native", "ltsf"), "floors": ("quick", "all"), "base": ("ridge", "none")})
        _check_positive(self, ("horizon", "eval_stride"))
        if self.protocol == "ltsf" and self.eval_stride not in (None, 1):
            raise ConfigError(f"protocol ltsf scores every window: expected eval_stride 1, got {self.eval_stride}")
        _check_inside("levels", self.levels, 0, 100)
        _check_inside("quantiles", self.quantiles, 0, 1)
        if self.pretrain < 0:
            raise ConfigError(f"expected pretrain to be a number of steps, got {self.pretrain}")
        if self.pretrain and (self.model not in ("patch", "patchtsmixer") or self.stride < self.patch):
            raise ConfigError(
                "pretraining masks patches that do not overlap: expected --model patch or patchtsmixer and a stride of "
                f"at least the patch, got {self.model}, patch {self.patch} and stride {self.stride}"
            )


def _check_positive(config: object, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"expected {name} to be a whole number of at least 1, got {value!r}")


def _check_inside(name: str, values: Sequence[float], low: float, high: float) -> None:
    if not all(low < value < high for value in values) or list(values) != sorted(set(values)):
        raise ConfigError(f"expected {name} to rise within {low} and {high}, got {','.join(map(str, values))}")
