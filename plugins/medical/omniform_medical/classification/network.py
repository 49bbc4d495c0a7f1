"""How the shared trainer sees a classifying network: pictures, cross-entropy, probabilities.

B = batch, C = channels, H, W = height and width, K = classes

Pictures are handed over in the data's own units and become units of the training deviation inside: the mean and the
deviation of each channel are buffers of the module, as are the weights of the classes, so that a saved network needs
none of the training data.
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
from omniform.configuration import split_names
from omniform.errors import ConfigError
from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size, Splits
from omniform_medical.classification.album import Album
from omniform_medical.classification.augmentation import Augmentation
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.models import FIXED_PARTS, MODELS, Classifier, DCTHistoTransformer

__all__ = ["PictureDataset", "classify_network", "standardised"]

Batch = tuple[Tensor, Tensor]
_UNKNOWN = -1
_PLAIN = Augmentation()


def classify_network(config: ClassifyConfig, mixer: str) -> Network:
    """Describe the network of a resolved `config` over a mixer.

    Raises:
        ConfigError: there is no such mixer, or the config was never resolved.
    """
    find_mixer(mixer)  # refused now, not at the first build
    if config.classes is None or not config.image or config.channels is None:
        raise ConfigError("expected a config with classes, image and channels; resolve it with data")
    return Network(
        build=_Build(config, mixer),
        objective=cross_entropy,
        dataset=_Pictures(config),
        decode=decode,
        assemble=_Assemble(split_names(config.classes)),
        fixed=FIXED_PARTS,
        initialize=_Initialize(config),
    )


class PictureDataset(Dataset[Batch]):
    """Pictures `(C, H, W)` float32 and the index of their class (-1: unknown)."""

    def __init__(self, items: Album, *, classes: tuple[str, ...], augmentation: Augmentation = _PLAIN) -> None:
        self.items = items
        self.augmentation = augmentation
        known = set(classes)
        told = items.labels is not None and all(label in known for label in items.labels)
        self.targets = items.targets(classes) if told else np.full(len(items), _UNKNOWN)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Batch]:
        pixels = self.items.pixels[indices].astype(np.float32)
        pictures = self.augmentation(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
        return list(zip(pictures, torch.from_numpy(self.targets[indices]), strict=True))


def cross_entropy(model: nn.Module, batch: Batch, *, generator: Generator) -> Losses:
    """Return the mean negative log probability of the right class, weighted by the classes' weights."""
    pictures, targets = batch
    logits = model(standardised(model, pictures)).float()
    return Losses(F.cross_entropy(logits, targets, weight=model.get_buffer("class_weights")))


def decode(model: nn.Module, batch: Batch) -> Tensor:
    """Return probabilities `(B, K)`."""
    return model(standardised(model, batch[0])).double().softmax(-1)


def standardised(model: nn.Module, pictures: Tensor) -> Tensor:
    """Return pictures in units of the training deviation."""
    center, spread = model.get_buffer("center"), model.get_buffer("spread")
    return (pictures - center[:, None, None]) / spread[:, None, None]


@dataclass(frozen=True, slots=True)
class _Assemble:
    classes: tuple[str, ...]

    def __call__(self, batches: Sequence[Tensor], items: Album) -> Predictions:
        return Predictions(torch.cat([batch.cpu() for batch in batches]).numpy(), self.classes, items)


@dataclass(frozen=True, slots=True)
class _Pictures:
    config: ClassifyConfig

    def __call__(self, items: Album, train: bool) -> PictureDataset:
        config = self.config
        flip = "" if config.flip == "none" else config.flip
        augmentation = Augmentation(flip, config.shift, config.brightness) if train else _PLAIN
        return PictureDataset(items, classes=split_names(config.classes or ""), augmentation=augmentation)


@dataclass(frozen=True, slots=True)
class _Initialize:
    """Write what the training pictures tell into the buffers of a network, before it is trained."""

    config: ClassifyConfig

    def __call__(self, model: nn.Module, splits: Splits[Album]) -> None:
        pixels = splits.train.pixels
        center, spread = pixels.mean(axis=(0, 1, 2), dtype=np.float64), pixels.std(axis=(0, 1, 2), dtype=np.float64)
        model.get_buffer("center").copy_(torch.from_numpy(center))
        model.get_buffer("spread").copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))
        if self.config.class_weights == "balanced":
            classes = split_names(self.config.classes or "")
            count = np.bincount(splits.train.targets(classes), minlength=len(classes))
            model.get_buffer("class_weights").copy_(torch.from_numpy(len(splits.train) / (len(classes) * count)))


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    config: ClassifyConfig
    mixer: str

    def __call__(self, size: Size) -> Classifier:
        config, mixer = self.config, find_mixer(self.mixer)
        height, width = config.image
        channels, classes = config.channels or 1, len(split_names(config.classes or ""))
        if config.model == "dct-histotransformer":
            model: Classifier = DCTHistoTransformer(
                mixer,
                size,
                image=(height, width),
                channels=channels,
                classes=classes,
                dropout=config.dropout,
                keep=config.keep,
            )
        else:
            model = MODELS[config.model](
                mixer, size, image=(height, width), channels=channels, classes=classes, dropout=config.dropout
            )
        model.register_buffer("center", torch.zeros(channels))
        model.register_buffer("spread", torch.ones(channels))
        model.register_buffer("class_weights", torch.ones(classes))
        return model
