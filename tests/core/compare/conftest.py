"""Rows made up for verdicts, and a toy task whose networks train in milliseconds."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from omniform import plugins
from omniform.compare.bootstrap import Difference
from omniform.compare.result import Row
from omniform.errors import ConfigError, DataError, IncompatibleError
from omniform.plots import canvas
from omniform.task import (
    Floor,
    Losses,
    Metric,
    NamedFigure,
    Network,
    Scores,
    Size,
    Splits,
    Statistic,
    Units,
)

MSE = Metric(name="MSE")
MIXERS = ("linear", "gated", "slow", "crash", "refused", "<script>")


@pytest.fixture(name="make_row")
def _make_row() -> Callable[..., Row]:
    return make_row


@pytest.fixture(name="make_floor")
def _make_floor() -> Callable[..., Row]:
    return make_floor


def make_row(name: str, mean: float, against: tuple[float, ...] | None = None, **changes: Any) -> Row:
    """Return a contender whose difference from the floor is `(value, low, high)`."""
    values: dict[str, Any] = {
        "name": name,
        "role": "contender",
        "params": 198_304,
        "steps": 300,
        "seconds": 41.2,
        "cpu_seconds": 80.1,
        "seeds": 3,
        "metrics": {"MSE": {"mean": mean, "sd": 0.0021}},
        "learning_rate": 1e-3,
        "latency_ms": 3.1,
        "memory_mb": 2.1,
        "against_floor": make_difference(against),
    }
    return Row(**(values | changes))


def make_difference(numbers: tuple[float, ...] | None) -> Difference | None:
    return None if numbers is None else Difference(**dict(zip(("value", "low", "high"), numbers, strict=False)))


def make_floor(name: str, mean: float, against: tuple[float, ...] | None = None) -> Row:
    metrics = {"MSE": {"mean": mean, "sd": None}}
    difference = make_difference(against)
    return Row(name=name, role="floor", seconds=0.4, seeds=1, metrics=metrics, against_floor=difference)


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    horizon: int = 1
    delay: float = 0.0


class ToyPredictor:
    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def predict(self, items: tuple[Tensor, Tensor]) -> np.ndarray:
        return items[0].numpy() @ self.weights


class LeastSquares:
    def fit(self, splits: Splits[Any], *, seed: int) -> ToyPredictor:
        x, y = splits.train
        return ToyPredictor(np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0])


class BrokenFloor:
    def fit(self, splits: Splits[Any], *, seed: int) -> ToyPredictor:
        raise ZeroDivisionError("no such floor")


class ToyModel(nn.Module):
    """`(B, 8) -> (B,)`, linear but for the mixer's way of failing."""

    def __init__(self, size: Size, mixer: str, delay: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, size.dim), nn.GELU(), nn.Linear(size.dim, size.hidden), nn.GELU())
        self.head = nn.Linear(size.hidden, 1)
        self.mixer, self.delay = mixer, delay

    def forward(self, x: Tensor) -> Tensor:
        if self.mixer == "crash":
            raise RuntimeError("boom <script>alert(1)</script>\nsecond line")
        time.sleep(self.delay * (4 if self.mixer == "slow" else 1))
        return self.head(self.inner(x)).squeeze(-1)


def _objective(model: nn.Module, batch: Any, *, generator: torch.Generator) -> Losses:
    x, y = batch
    return Losses(total=(model(x) - y).square().mean())


class ToyTask:
    """Regress a noisy linear function; the test units follow each other in time, errors with them."""

    name = "fit"
    config = ToyConfig
    noise = 0.1
    broken_floor = False
    broken_figures = False

    def metrics(self, config: ToyConfig) -> tuple[Metric, ...]:
        return (MSE,)

    def read(self, source: str | Path, config: ToyConfig) -> tuple[Tensor, Tensor]:
        if source != "sample":
            raise DataError(f"expected sample, got {source}")
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(400, 8, generator=generator)
        return x, x @ torch.arange(1.0, 9.0) / 8 + self.noise * torch.randn(400, generator=generator)

    def fingerprint(self, data: tuple[Tensor, Tensor]) -> str:
        return hashlib.sha256(data[0].numpy().tobytes()).hexdigest()

    def resolve(self, data: Any, config: ToyConfig) -> ToyConfig:
        return config

    def split(self, data: tuple[Tensor, Tensor], config: ToyConfig) -> Splits[Any]:
        x, y = data
        return Splits((x[:240], y[:240]), (x[240:300], y[240:300]), (x[300:], y[300:]))

    def floors(self, config: ToyConfig) -> Sequence[Floor]:
        floors = [Floor(name="least-squares", summary="", estimator=LeastSquares())]
        return [*floors, Floor(name="broken", summary="", estimator=BrokenFloor())] if self.broken_floor else floors

    def network(self, splits: Splits[Any], config: ToyConfig, mixer: str) -> Network:
        if mixer == "refused":
            raise IncompatibleError("refused needs a fixed grid; choose another mixer")
        return Network(
            build=lambda size: ToyModel(size, mixer, config.delay),
            objective=_objective,
            dataset=lambda items, train: TensorDataset(*items),
            decode=lambda model, batch: model(batch[0]),
            assemble=lambda batches, items: torch.cat([torch.as_tensor(batch) for batch in batches]).numpy(),
            fixed=("head",),
        )

    def predictor_items(self, source: str | Path, config: ToyConfig) -> Any:
        return self.read(source, config)

    def score(self, predictions: np.ndarray, items: tuple[Tensor, Tensor], config: ToyConfig) -> Scores:
        error = np.square(predictions - items[1].numpy()).astype(np.float64)
        return Scores({"MSE": Statistic(error, np.ones_like(error))}, Units(kind="time", block=4))

    def write(self, predictions: Any, path: Path) -> None:
        np.savetxt(path, predictions)

    def figures(self, predictions: Mapping[str, Any], items: Any, config: ToyConfig) -> Iterable[NamedFigure]:
        if self.broken_figures:
            raise ValueError("no ink")
        figure, (axis,) = canvas(3.0, 2.0)
        for values in predictions.values():
            axis.plot(values)
        yield NamedFigure("predictions", f"Predictions of {', '.join(predictions)}.", figure)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ToyTask:
    """Return the toy task, its mixers known to the host."""

    def find_mixer(name: str) -> type[nn.Module]:
        if name not in MIXERS:
            raise ConfigError(f"no mixer {name!r}")
        return nn.Identity

    monkeypatch.setattr(plugins, "find_mixer", find_mixer)
    return ToyTask()
