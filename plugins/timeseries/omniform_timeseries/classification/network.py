"""How the shared trainer sees a classifying network: padded cases, cross-entropy, probabilities.

B = batch, L = padded rows, C = channels, K = classes

Cases are handed over in the data's own units and in float64, and become units of the training deviation inside: the
mean and deviation are buffers of the module, learnt by `initialize` with everything else that comes from the training
cases, so that a saved network needs none of them. In float32 a counter at a billion would lose its movement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, default_collate

from omniform.classification import Predictions
from omniform.configuration import split_names
from omniform.errors import ConfigError
from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size, Splits
from omniform_timeseries.classification.collection import Collection, filled, resampled
from omniform_timeseries.classification.config import ClassifyConfig
from omniform_timeseries.classification.models import FIXED_PARTS, PatchClassifier, VSFormer
from omniform_timeseries.classification.scaling import ChannelScale

__all__ = ["CaseDataset", "classify_network"]

Batch = tuple[Tensor, Tensor, Tensor]
_UNKNOWN = -1


def classify_network(config: ClassifyConfig, mixer: str) -> Network:
    """Describe the network of a resolved `config` over a mixer.

    Raises:
        ConfigError: there is no such mixer, or the config was never resolved.
    """
    find_mixer(mixer)  # refused now, not at the first build
    if None in (config.classes, config.channels, config.length, config.patch, config.shape):
        raise ConfigError("expected a config with classes, channels, length, patch and shape; resolve it with data")
    return Network(
        build=_Build(config, mixer),
        objective=cross_entropy,
        dataset=_Cases(config),
        decode=decode,
        assemble=_Assemble(split_names(config.classes or "")),
        fixed=FIXED_PARTS,
        initialize=_Initialize(config),
    )


class CaseDataset(Dataset[Batch]):
    """Cases `(L, C)` float64 behind which zeros stand, their mask `(L,)`, and the index of their class (-1: unknown).

    Missing values lie on straight lines between their neighbours; a channel that misses all values stays NaN. A case
    longer than L is interpolated down to it; with `stretch`, a shorter one up to it.
    """

    def __init__(self, items: Collection, *, classes: tuple[str, ...], length: int, stretch: bool) -> None:
        self.items = items
        self.length = length
        self.stretch = stretch
        known = set(classes)
        told = items.labels is not None and all(label in known for label in items.labels)
        self.targets = items.targets(classes) if told else np.full(len(items), _UNKNOWN)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        case = filled(self.items.values[index])
        if len(case) > self.length or self.stretch:
            case = resampled(case, self.length)
        values = torch.zeros(self.length, case.shape[1], dtype=torch.float64)
        values[: len(case)] = torch.tensor(case)
        return values, torch.arange(self.length) < len(case), torch.tensor(self.targets[index])


def cross_entropy(model: nn.Module, batch: Batch, *, generator: Generator) -> Losses:
    """Return the mean negative log probability of the right class."""
    values, mask, targets = batch
    return Losses(F.cross_entropy(model(_standard(model, values), mask).float(), targets))


def decode(model: nn.Module, batch: Batch) -> Tensor:
    """Return probabilities `(B, K)`."""
    values, mask, _ = batch
    return model(_standard(model, values), mask).double().softmax(-1)


def _standard(model: nn.Module, values: Tensor) -> Tensor:
    """Return values in units of the training deviation, 0 where a channel is missing, in float32."""
    return ((values - model.get_buffer("center")) / model.get_buffer("spread")).float().nan_to_num(0.0)


@dataclass(frozen=True, slots=True)
class _Assemble:
    classes: tuple[str, ...]

    def __call__(self, batches: Sequence[Tensor], items: Collection) -> Predictions:
        return Predictions(torch.cat([batch.cpu() for batch in batches]).numpy(), self.classes, items)


@dataclass(frozen=True, slots=True)
class _Cases:
    config: ClassifyConfig

    def __call__(self, items: Collection, train: bool) -> CaseDataset:
        config = self.config
        return CaseDataset(
            items,
            classes=split_names(config.classes or ""),
            length=config.length or 1,
            stretch=config.align == "stretch",
        )


@dataclass(frozen=True, slots=True)
class _Initialize:
    """Write what the training cases tell into the buffers of a network, before it is trained."""

    config: ClassifyConfig

    def __call__(self, model: nn.Module, splits: Splits[Collection]) -> None:
        scale = ChannelScale.of(splits.train)
        model.get_buffer("center").copy_(torch.from_numpy(scale.mean))
        model.get_buffer("spread").copy_(torch.from_numpy(scale.spread))
        if isinstance(model, VSFormer):
            dataset = _Cases(self.config)(splits.train, False)
            values, mask, targets = default_collate([dataset[i] for i in range(len(dataset))])
            model.learn(_standard(model, values), mask, targets.numpy())


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    config: ClassifyConfig
    mixer: str

    def __call__(self, size: Size) -> nn.Module:
        config, mixer = self.config, find_mixer(self.mixer)
        channels, classes = len(split_names(config.channels or "")), len(split_names(config.classes or ""))
        if config.model == "vsformer":
            model: nn.Module = VSFormer(
                mixer,
                size,
                num_channels=channels,
                num_classes=classes,
                shape=config.shape or 1,
                num_shapes=config.shapes,
                num_intervals=config.intervals,
                dropout=config.dropout,
            )
        else:
            model = PatchClassifier(
                mixer,
                size,
                num_channels=channels,
                num_classes=classes,
                length=config.length or 1,
                patch=config.patch or 1,
                dropout=config.dropout,
            )
        model.register_buffer("center", torch.zeros(channels, dtype=torch.float64))
        model.register_buffer("spread", torch.ones(channels, dtype=torch.float64))
        return model
