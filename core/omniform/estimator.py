"""Networks as estimators: the shared trainer around what a task tells about one of its networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniform.errors import DataError
from omniform.task import Budget, Network, Size, Splits, Task
from omniform.training.config import Training
from omniform.training.fit import Fit, Gate, Progress, fit
from omniform.training.precision import move_to, resolve_device
from omniform.training.sampler import read_items

__all__ = ["NetworkEstimator", "NetworkPredictor", "Validation"]


@dataclass(frozen=True, slots=True)
class NetworkPredictor:
    """A trained network.

    Attributes:
        model: the module.
        network: how its task reads and decodes.
        batch_size: items decoded at a time.
        fit: how it was trained; `None` if it was loaded.
    """

    model: nn.Module
    network: Network
    batch_size: int
    fit: Fit | None = None

    def predict(self, items: Any) -> Any:
        """Decode all items in order, the last incomplete batch included, and assemble the task's prediction.

        Without gradients rather than in inference mode, which a model that differentiates to decode could not leave.

        Raises:
            DataError: there are no items.
        """
        self.model.eval()
        with torch.no_grad():
            if self.network.stream is not None:
                return self.network.stream(self._decode, items)
            dataset: Any = self.network.dataset(items, False)
            if len(dataset) == 0:
                raise DataError("expected at least one item to predict, got none; check the input and the split")
            starts = range(0, len(dataset), self.batch_size)
            batches = (list(range(start, min(start + self.batch_size, len(dataset)))) for start in starts)
            return self.network.assemble([self._decode(read_items(dataset, batch)) for batch in batches], items)

    def _decode(self, batch: Any) -> Any:
        """Return what the model decodes for a batch, on the CPU."""
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        return move_to(self.network.decode(self.model, move_to(batch, device)), torch.device("cpu"))


@dataclass(frozen=True, slots=True)
class Validation:
    """Score a model on items by the task's primary metric; picklable, so that processes can be sent it."""

    task: Task[Any, Any]
    config: Any
    network: Network
    items: Any
    batch_size: int

    def __call__(self, model: nn.Module) -> float:
        predictions = NetworkPredictor(model, self.network, self.batch_size).predict(self.items)
        primary = self.task.metrics(self.config)[0]
        return self.task.score(predictions, self.items, self.config).statistics[primary.name].value()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEstimator:
    """Build a task's network at a size and train it for a budget.

    Attributes:
        weights: to start from, instead of a fresh initialisation.
        folder, resume, gate, progress, on_progress: as in `omniform.training.fit.fit`.
    """

    task: Task[Any, Any]
    config: Any
    network: Network
    size: Size
    training: Training
    budget: Budget
    weights: Mapping[str, Tensor] | None = None
    folder: Path | None = None
    resume: bool = False
    gate: Gate | None = None
    progress: bool = True
    on_progress: Callable[[Progress], None] | None = None

    def fit(self, splits: Splits[Any], *, seed: int) -> NetworkPredictor:
        """Train on `splits.train`, keep the weights that score best on `splits.validation`."""
        torch.manual_seed(seed)
        model = self.network.build(self.size)
        if self.weights is not None:
            model.load_state_dict(self.weights)
        elif self.network.initialize is not None:
            self.network.initialize(model, splits)
        batch_size = self.training.batch_items
        result = fit(
            self.network,
            model,
            splits,
            validate=Validation(self.task, self.config, self.network, splits.validation, batch_size),
            lower_is_better=self.task.metrics(self.config)[0].lower_is_better,
            training=self.training,
            budget=self.budget,
            seed=seed,
            folder=self.folder,
            resume=self.resume,
            score_start=self.weights is not None or self.network.initialize is not None,
            gate=self.gate,
            progress=self.progress,
            on_progress=self.on_progress,
        )
        model = result.model.to(resolve_device(self.training.device))
        predictor = NetworkPredictor(model, self.network, batch_size, result)
        if self.network.calibrate is not None:
            self.network.calibrate(predictor, splits)
        return predictor
