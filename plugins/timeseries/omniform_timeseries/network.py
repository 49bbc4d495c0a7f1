"""How the shared trainer sees a forecasting network: its windows, its loss, its forecasts.

B = batch, L = lookback, H = horizon, C = series

A window is handed over relative to its last value, subtracted in float64: float32 would lose the movement of a counter
that stands at a billion. Every network normalises windows itself and so forecasts the same; the last value is added
back in float64. The network works in units of the training standard deviations, which it keeps as the buffer `unit`, so
that a saved network predicts new data in the units of its own training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.metrics import Forecasts
from omniform_timeseries.models import FIXED_PARTS, build_model
from omniform_timeseries.windows import Windows

__all__ = ["WindowDataset", "forecast_network"]

Batch = tuple[Tensor, Tensor]


def forecast_network(config: ForecastConfig, mixer: str, *, unit: Iterable[float]) -> Network:
    """Describe the network of `config.model` over a mixer, for series of these training standard deviations.

    Raises:
        ConfigError: there is no such mixer.
    """
    find_mixer(mixer)  # refused now, not at the first build
    return Network(
        build=_Build(config, mixer, tuple(float(value) for value in unit)),
        objective=mean_squared_error,
        dataset=_dataset,
        decode=decode,
        assemble=assemble,
        fixed=FIXED_PARTS,
    )


class WindowDataset(Dataset[Batch]):
    """Pairs of history `(L, C)` and future `(H, C)`, float32, less the last value of the history.

    What lies beyond the end of the panel is NaN.
    """

    def __init__(self, items: Windows) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        items = self.items
        start, seen = int(items.starts[index]), items.lookback
        values = items.panel.values[start : start + seen + items.horizon]
        change = np.full((seen + items.horizon, values.shape[1]), np.nan, dtype=np.float32)
        change[: len(values)] = values - values[seen - 1]
        window = torch.from_numpy(change)
        return window[:seen], window[seen:]


def mean_squared_error(model: nn.Module, batch: Batch, *, generator: Generator) -> Losses:
    """Return the mean squared error in training variances."""
    history, future = batch
    unit = model.get_buffer("unit")
    return Losses(F.mse_loss(model(history / unit), future / unit))


def decode(model: nn.Module, batch: Batch) -> Tensor:
    """Return the forecast change from the last value, `(B, H, C)`, in the data's units."""
    unit = model.get_buffer("unit")
    return model(batch[0] / unit) * unit


def assemble(batches: Sequence[Tensor], items: Windows) -> Forecasts:
    """Add the last values to the decoded changes of all windows."""
    change = torch.cat([batch.double().cpu() for batch in batches]).numpy()  # (N, H, C)
    return Forecasts(change + items.last(), items)


def _dataset(items: Windows, train: bool) -> WindowDataset:
    return WindowDataset(items)


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    config: ForecastConfig
    mixer: str
    unit: tuple[float, ...]

    def __call__(self, size: Size) -> nn.Module:
        model = build_model(self.config, num_variates=len(self.unit), mixer=find_mixer(self.mixer), size=size)
        model.register_buffer("unit", torch.tensor(self.unit, dtype=torch.float32))
        return model
