"""A toy domain: noisy linear regression with a small network that drops out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from omniform.errors import DataError
from omniform.task import Floor, Losses, Metric, NamedFigure, Network, Scores, Size, Splits, Statistic, Units

NUM_FEATURES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    """Options of the toy task."""

    dropout: float = 0.2
    items: int = 90
    mean: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    inputs: np.ndarray  # (N, F)
    targets: np.ndarray  # (N, 1)


class Net(nn.Module):
    def __init__(self, size: Size, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Linear(NUM_FEATURES, size.dim)
        self.norm = nn.LayerNorm(size.dim)
        self.hidden = nn.Linear(size.dim, size.hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(size.hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(torch.tanh(self.hidden(self.norm(self.stem(x))))))


@dataclass(frozen=True, slots=True)
class Build:
    dropout: float

    def __call__(self, size: Size) -> nn.Module:
        return Net(size, self.dropout)


def objective(model: nn.Module, batch: Any, *, generator: Generator) -> Losses:
    inputs, targets = batch
    noise = torch.randn(inputs.shape, generator=generator, device=inputs.device) * 0.01
    return Losses(nn.functional.mse_loss(model(inputs + noise).float(), targets))


def plain_objective(model: nn.Module, batch: Any, *, generator: Generator) -> Losses:
    inputs, targets = batch
    return Losses(nn.functional.mse_loss(model(inputs), targets))


def dataset(items: Table, train: bool) -> Dataset[Any]:
    return TensorDataset(torch.from_numpy(items.inputs), torch.from_numpy(items.targets))


def decode(model: nn.Module, batch: Any) -> Tensor:
    return model(batch[0])


def assemble(parts: Sequence[Tensor], items: Table) -> np.ndarray:
    return torch.cat(list(parts)).float().numpy()


def make_network(dropout: float = 0.2, loss: Any = objective) -> Network:
    return Network(
        build=Build(dropout), objective=loss, dataset=dataset, decode=decode, assemble=assemble, fixed=("stem", "head")
    )


def make_table(size: int, seed: int) -> Table:
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(size, NUM_FEATURES)).astype(np.float32)
    slope = np.linspace(-1, 1, NUM_FEATURES, dtype=np.float32)[:, None]
    noise = 0.1 * generator.normal(size=(size, 1)).astype(np.float32)
    return Table(inputs, inputs @ slope + np.sin(inputs[:, :1]) + noise)


def make_splits(size: int = 53) -> Splits[Table]:
    return Splits(make_table(size, 1), make_table(21, 2), make_table(21, 3))


@dataclass(frozen=True, slots=True)
class Validation:
    """Mean squared error on the validation items."""

    items: Table

    def __call__(self, model: nn.Module) -> float:
        predictions = model(torch.from_numpy(self.items.inputs))
        return float((predictions.detach() - torch.from_numpy(self.items.targets)).square().mean())


class MeanPredictor:
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, items: Table) -> np.ndarray:
        return np.full((len(items.inputs), 1), self.value, dtype=np.float32)


class MeanFloor:
    def fit(self, splits: Splits[Table], *, seed: int) -> MeanPredictor:
        return MeanPredictor(float(splits.train.targets.mean()))


class ToyTask:
    """Regress one number from six."""

    name = "regress"
    config = ToyConfig

    def metrics(self, config: ToyConfig) -> tuple[Metric, ...]:
        return (Metric(name="mse"), Metric(name="mae"))

    def read(self, source: str | Path, config: ToyConfig) -> Table:
        if source == "sample":
            return make_table(config.items, 0)
        path = Path(source)
        if not path.exists():
            raise DataError(f"expected a table in {path}, but there is no such file")
        rows = np.asarray(json.loads(path.read_text()), dtype=np.float32)
        return Table(rows[:, :NUM_FEATURES], rows[:, NUM_FEATURES:])

    def fingerprint(self, data: Table) -> str:
        return hashlib.sha256(data.inputs.tobytes() + data.targets.tobytes()).hexdigest()

    def resolve(self, data: Table, config: ToyConfig) -> ToyConfig:
        return ToyConfig(dropout=config.dropout, items=len(data.inputs), mean=float(data.targets.mean()))

    def split(self, data: Table, config: ToyConfig) -> Splits[Table]:
        size = len(data.inputs)
        cuts = [0, size * 6 // 10, size * 8 // 10, size]
        parts = [Table(data.inputs[a:b], data.targets[a:b]) for a, b in pairwise(cuts)]
        return Splits(*parts)

    def floors(self, config: ToyConfig) -> Sequence[Floor]:
        return (Floor(name="mean", summary="the mean of the training targets", estimator=MeanFloor()),)

    def network(self, splits: Splits[Table], config: ToyConfig, mixer: str) -> Network:
        return make_network(config.dropout)

    def predictor_items(self, source: str | Path, config: ToyConfig) -> Table:
        return self.read(source, config)

    def score(self, predictions: np.ndarray, items: Table, config: ToyConfig) -> Scores:
        error = (predictions - items.targets)[:, 0].astype(np.float64)
        ones = np.ones_like(error)
        return Scores({"mse": Statistic(error**2, ones), "mae": Statistic(np.abs(error), ones)}, Units(kind="group"))

    def write(self, predictions: np.ndarray, path: Path) -> None:
        path.write_text(json.dumps(predictions[:, 0].tolist()))

    def figures(self, predictions: Mapping[str, np.ndarray], items: Table, config: ToyConfig) -> Iterable[NamedFigure]:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3, 2))
        axes = figure.subplots()
        for name, values in predictions.items():
            axes.scatter(items.targets[:, 0], values[:, 0], s=4, label=name)
        axes.legend()
        yield NamedFigure("fit", "Predicted against true.", figure)
