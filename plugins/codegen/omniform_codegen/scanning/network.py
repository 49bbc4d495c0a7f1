"""How the shared trainer sees a scanning network: encoded snippets, cross-entropy, probabilities.

B = batch, L = tokens, K = classes, R = rules, one for each type in the table
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from omniform.classification import Predictions
from omniform.errors import ConfigError
from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size, Splits
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.data import classes_of_config
from omniform_codegen.scanning.encoding import encode
from omniform_codegen.scanning.floors import Alarms
from omniform_codegen.scanning.model import FIXED_PARTS, SnippetEncoder
from omniform_codegen.scanning.rules import broken_rules
from omniform_codegen.scanning.snippets import Snippets
from omniform_codegen.scanning.weaknesses import WEAKNESSES

__all__ = ["SnippetDataset", "cross_entropy", "decode", "scan_network"]

Batch = tuple[Tensor, Tensor, Tensor]
_UNKNOWN = -1
_RAREST = 1e-3  # no class is ruled out
_RULES = {cwe: place for place, cwe in enumerate(WEAKNESSES)}


def scan_network(config: ScanConfig, mixer: str) -> Network:
    """Describe the network of a resolved `config` over a mixer.

    Raises:
        ConfigError: there is no such mixer, or the config was never resolved.
    """
    find_mixer(mixer)  # refused now, not at the first build
    if config.types is None:
        raise ConfigError("expected a config with types; resolve it with data")
    return Network(
        build=_Build(config, mixer),
        objective=cross_entropy,
        dataset=_Dataset(config),
        decode=decode,
        assemble=_Assemble(classes_of_config(config)),
        fixed=FIXED_PARTS,
        initialize=_Initialize(config) if config.rules else None,
        batch_size=64,
        learning_rate=3e-3,
    )


class SnippetDataset(Dataset[Batch]):
    """Encoded snippets `(L, 3)`, the rules that they break `(R,)`, and the index of their class (-1: unknown)."""

    def __init__(self, items: Snippets, config: ScanConfig) -> None:
        classes = classes_of_config(config)
        self.codes = np.zeros((len(items), config.context, 3), dtype=np.int64)
        self.alarms = np.zeros((len(items), len(WEAKNESSES) if config.rules else 0), dtype=np.float32)
        for row, item in enumerate(items.items):
            self.codes[row] = encode(item.code, context=config.context, buckets=config.buckets)
            if config.rules:
                self.alarms[row, [_RULES[cwe] for cwe in broken_rules(item.code)]] = 1
        known = all(item.label in classes for item in items.items)
        self.targets = items.targets(classes) if known else np.full(len(items), _UNKNOWN)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> Batch:
        parts = self.codes[index], self.alarms[index], self.targets[index]
        codes, alarms, target = (torch.as_tensor(part) for part in parts)
        return codes, alarms, target


def cross_entropy(model: nn.Module, batch: Batch, *, generator: Generator) -> Losses:
    """Return the mean negative log probability of the right class."""
    codes, alarms, targets = batch
    return Losses(F.cross_entropy(model(codes, alarms).float(), targets))


def decode(model: nn.Module, batch: Batch) -> Tensor:
    """Return probabilities `(B, K)`."""
    return model(batch[0], batch[1]).double().softmax(-1)


@dataclass(frozen=True, slots=True)
class _Assemble:
    classes: tuple[str, ...]

    def __call__(self, batches: Sequence[Tensor], items: Snippets) -> Predictions[Snippets]:
        return Predictions(torch.cat([batch.cpu() for batch in batches]).numpy(), self.classes, items)


@dataclass(frozen=True, slots=True)
class _Dataset:
    config: ScanConfig

    def __call__(self, items: Snippets, train: bool) -> SnippetDataset:
        return SnippetDataset(items, self.config)


@dataclass(frozen=True, slots=True)
class _Initialize:
    """Begin as the floor of rules does: the network learns what there is beyond them.

    Where rule r alone is broken, the log odds of its type against safe are those of its precision in training; where
    none is, classes are as frequent as in training without an alarm.
    """

    config: ScanConfig

    def __call__(self, model: nn.Module, splits: Splits[Snippets]) -> None:
        classes = classes_of_config(self.config)
        floor = Alarms(broken_rules, classes[1:]).fit(splits, seed=0)
        silent = np.concatenate([[1 - floor.silent.sum()], floor.silent]).clip(_RAREST)
        bias = np.log(silent / silent.sum())
        weight = np.zeros((len(classes), len(WEAKNESSES)))
        for place, (cwe, precision) in enumerate(zip(classes[1:], floor.precision, strict=True), 1):
            if cwe in _RULES:
                weight[place, _RULES[cwe]] = np.log(precision / (1 - precision)) - bias[place] + bias[0]
        with torch.no_grad():
            model.get_parameter("head.weight").zero_()
            model.get_parameter("head.bias").copy_(torch.from_numpy(bias))
            model.get_parameter("rules.weight").copy_(torch.from_numpy(weight))


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    config: ScanConfig
    mixer: str

    def __call__(self, size: Size) -> SnippetEncoder:
        config = self.config
        return SnippetEncoder(
            find_mixer(self.mixer),
            size,
            context=config.context,
            buckets=config.buckets,
            classes=len(classes_of_config(config)),
            alarms=len(WEAKNESSES) if config.rules else 0,
            dropout=config.dropout,
        )
