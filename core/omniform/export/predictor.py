"""An exported network as a predictor: a task's items in, its predictions out, without torch's modules between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from omniform.errors import DataError
from omniform.export.batch import name_tensors
from omniform.export.model import OnnxModel
from omniform.task import Network
from omniform.training.sampler import read_items

__all__ = ["OnnxPredictor"]


@dataclass(frozen=True, slots=True)
class OnnxPredictor:
    """Predict as the network did that was exported; implements `omniform.task.Predictor`.

    Attributes:
        model: the opened file.
        network: of the same task and options; it reads items and assembles predictions, and is never built.
        batch_size: items decoded at a time.
    """

    model: OnnxModel
    network: Network
    batch_size: int = 64

    def predict(self, items: Any) -> Any:
        """Decode all items in order, the last incomplete batch included, and assemble the task's prediction.

        Raises:
            DataError: there are no items, or they do not fit the network.
        """
        if self.network.stream is not None:
            return self.network.stream(self._decode, items)
        dataset: Any = self.network.dataset(items, False)
        if len(dataset) == 0:
            raise DataError("expected at least one item to predict, got none; check the input")
        starts = range(0, len(dataset), self.batch_size)
        batches = (list(range(start, min(start + self.batch_size, len(dataset)))) for start in starts)
        return self.network.assemble([self._decode(read_items(dataset, indices)) for indices in batches], items)

    def _decode(self, batch: Any) -> Tensor | dict[str, Tensor]:
        description = self.model.description
        outputs = self.model.predict({name: tensor.numpy() for name, tensor in name_tensors(batch).items()})
        tensors = [torch.from_numpy(outputs[name]) for name in description.outputs]
        return tensors[0] if description.keys is None else dict(zip(description.keys, tensors, strict=True))
