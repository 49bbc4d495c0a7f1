"""The contracts between a domain and the commands that every domain shares.

A domain is a tuple of tasks. A task reads data, splits it without leakage, offers floors and networks, and scores
predictions. From that come, once for all domains: train, evaluate, predict, compare, report and app.

This module imports no torch, so that a plugin's specs stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from omniform.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Generator, Tensor, nn
    from torch.utils.data import Dataset

__all__ = [
    "Budget",
    "Estimator",
    "Floor",
    "LazyStatistics",
    "Losses",
    "Metric",
    "NamedFigure",
    "Network",
    "Objective",
    "Predictor",
    "Scores",
    "Size",
    "Splits",
    "Statistic",
    "Task",
    "Units",
]

Items = TypeVar("Items")
DataT = TypeVar("DataT")
ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A score: its name in tables and JSON, its unit, and which way is better."""

    name: str
    unit: str = ""
    lower_is_better: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long to train: a number of optimiser steps or a number of seconds, exactly one of them."""

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ConfigError("expected either a number of steps or a time budget, not both and not neither")
        value = self.steps if self.steps is not None else self.seconds
        if value is None or not value > 0:
            raise ConfigError(f"expected a positive budget, got {value}")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `"90s"`, `"2m"`, `"1.5h"` as time and `"300"` as steps."""
        scales = {"s": 1.0, "m": 60.0, "h": 3600.0}
        number, unit = (text[:-1], text[-1]) if text[-1:] in scales else (text, "")
        try:
            return cls(seconds=float(number) * scales[unit]) if unit else cls(steps=int(number))
        except ValueError:
            raise ConfigError(f"expected a budget such as 90s, 2m, 1.5h, or 300 for steps; got {text!r}") from None

    def __str__(self) -> str:
        return f"{self.steps} steps" if self.steps is not None else f"{self.seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The shape of a network that the parameter solver may choose.

    Attributes:
        dim: width of the tokens.
        hidden: hidden width of the channel mixers.
        depth: number of layers.
    """

    dim: int
    hidden: int
    depth: int


@dataclass(frozen=True, slots=True)
class Splits(Generic[Items]):
    """Training, validation and test items; estimators fit on `train`, choose on `validation`, never see `test`."""

    train: Items
    validation: Items
    test: Items


@dataclass(frozen=True, slots=True)
class Statistic:
    """Sufficient statistics of one metric over `U` independent units: `value = link(sum(total) / sum(weight))`.

    Storing sums per unit rather than one number is what lets a comparison resample units.
    """

    total: np.ndarray  # (U,)
    weight: np.ndarray  # (U,)
    link: Literal["identity", "sqrt"] = "identity"

    def value(self, counts: np.ndarray | None = None) -> float:
        """Return the metric, with unit `u` counted `counts[u]` times (once each by default); NaN if none has weight."""
        counts = np.ones_like(self.weight, dtype=np.float64) if counts is None else counts
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = float((self.total * counts).sum() / (self.weight * counts).sum())
        return ratio**0.5 if self.link == "sqrt" else ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """How the units of a score depend on each other, which decides how they are resampled.

    Attributes:
        kind: `"time"`: consecutive in time, resampled in circular blocks; `"group"`: whole groups are resampled.
        block: block length in units, for `"time"` (lookback + horizon for overlapping forecast windows).
        groups: `(U,)` group of each unit, for `"group"`; `None` means that every unit is its own group.
    """

    kind: Literal["time", "group"]
    block: int = 1
    groups: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Every metric of a task as statistics over the same units."""

    statistics: Mapping[str, Statistic]
    units: Units

    def values(self) -> dict[str, float]:
        return {name: statistic.value() for name, statistic in self.statistics.items()}


class LazyStatistics(Mapping[str, Statistic]):
    """Statistics that are computed when first asked for; what they are computed from is let go with the last."""

    def __init__(self, measures: dict[str, Callable[[], Statistic]]) -> None:
        self._names = tuple(measures)
        self._pending = measures
        self._known: dict[str, Statistic] = {}

    def __getitem__(self, name: str) -> Statistic:
        if name not in self._known:
            self._known[name] = self._pending[name]()
            del self._pending[name]
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, slots=True)
class Losses:
    """What an objective returns: `total` is differentiated, `parts` are logged."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamedFigure:
    """A picture for the run folder, the report and the app page."""

    name: str
    caption: str
    figure: Figure


class Objective(Protocol):
    """A training loss that receives the model itself: teachers, two passes and energies fit in."""

    def __call__(self, model: nn.Module, batch: Any, *, generator: Generator) -> Losses: ...


@runtime_checkable
class Predictor(Protocol):
    """A fitted estimator. Decoding and streaming live here; `items` is a split's items or new input."""

    def predict(self, items: Any) -> Any:
        """Return the task's own prediction object for all items, the last incomplete batch included."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """Anything that learns from splits: a closed-form floor, a registration solver, a network."""

    def fit(self, splits: Splits[Any], *, seed: int) -> Predictor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A strong simple baseline of the field: no budget, no mixer, fitted in seconds."""

    name: str
    summary: str
    estimator: Estimator


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a task tells the shared trainer about one of its networks.

    Attributes:
        build: makes the module for a size; must work under `torch.device("meta")`, for the parameter solver counts so.
        objective: the training loss.
        dataset: turns a split's items into a map-style dataset whose items the default collation stacks; `train` says
            whether it is for fitting (augmentation allowed) or for prediction (fixed order).
        decode: `(model, batch) -> Tensor or dict` of predictions for one batch, in eval mode.
        assemble: puts the decoded batches of all items together into the task's prediction object.
        fixed: qualified names of submodules (`stem`, `model.head`) that hold no mixer, as far as a network has them;
            the solver refuses when they alone exceed half of the parameters.
        initialize: fills what is computed from training data rather than trained (a closed-form base, priors) into a
            fresh module, once; a network that is loaded has it among its weights. A model so begun is also scored on
            validation before its first step.
        calibrate: fills what is computed from the trained network's predictions on validation (conformal intervals),
            given its `NetworkPredictor`.
        stream: `(decode, items) -> predictions`, for a task whose predictions do not come one batch after another
            (windows that slide over a volume); `decode` takes a batch. `dataset` then only gives examples of batches.
        batch_size, learning_rate: what the task takes where the user does not say.
    """

    build: Callable[[Size], nn.Module]
    objective: Objective
    dataset: Callable[[Any, bool], Dataset[Any]]
    decode: Callable[[nn.Module, Any], Any]
    assemble: Callable[[Sequence[Any], Any], Any]
    fixed: Sequence[str] = ()
    initialize: Callable[[nn.Module, Splits[Any]], None] | None = None
    calibrate: Callable[[Any, Splits[Any]], None] | None = None
    stream: Callable[[Callable[[Any], Any], Any], Any] | None = None
    batch_size: int | None = None
    learning_rate: float | None = None


class Task(Protocol[ConfigT, DataT]):
    """One task of a domain. The class is constructed without arguments and keeps no state."""

    name: str
    config: type[ConfigT]  # frozen, keyword-only dataclass; the command line's options are derived from its fields

    def metrics(self, config: ConfigT) -> tuple[Metric, ...]:
        """Return what `score` measures; by the first, the primary one, models are chosen and compared."""
        ...

    def read(self, source: str | Path, config: ConfigT) -> DataT:
        """Read the field's own formats, check, and refuse with one line; `"sample"` is the embedded data."""
        ...

    def fingerprint(self, data: DataT) -> str:
        """Return a SHA-256 of the values, so that a run folder knows what it was trained on."""
        ...

    def resolve(self, data: DataT, config: ConfigT) -> ConfigT:
        """Return the config with everything that was inferred from data written down, so that a run reproduces."""
        ...

    def split(self, data: DataT, config: ConfigT) -> Splits[Any]:
        """Split without leakage."""
        ...

    def floors(self, config: ConfigT) -> Sequence[Floor]:
        """Return the simple baselines, the one that every score stands beside first."""
        ...

    def network(self, splits: Splits[Any], config: ConfigT, mixer: str) -> Network:
        """Describe the network that `config` and `mixer` select, sized for these splits."""
        ...

    def predictor_items(self, source: str | Path, config: ConfigT) -> Any:
        """Read new input for `predict`: whatever the field predicts from (the latest window of each series, ...)."""
        ...

    def score(self, predictions: Any, items: Any, config: ConfigT) -> Scores:
        """Return sufficient statistics per independent unit for every metric."""
        ...

    def write(self, predictions: Any, path: Path) -> None:
        """Write predictions in the field's own format, atomically."""
        ...

    def figures(self, predictions: Mapping[str, Any], items: Any, config: ConfigT) -> Iterable[NamedFigure]:
        """Draw predictions of several named predictors on the same items, for report and app."""
        ...
