"""How the shared trainer sees a segmentation network: its patches, its loss, and its windows put together again.

Shapes: B batch, C channels, K classes, `*S` the plan's patch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size, Splits
from omniform_medical.augmentation import Augmentation
from omniform_medical.calibration import fit_temperature, near_foreground
from omniform_medical.cohort import Cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.inference import segment
from omniform_medical.layouts.labels import parse_labels
from omniform_medical.losses import deep_supervision, dice_cross_entropy, tversky_cross_entropy
from omniform_medical.memory import parse_bytes
from omniform_medical.models import build_model
from omniform_medical.models.med3d import Med3D, transfer
from omniform_medical.patches import MiddlePatches, Patch, TrainingPatches
from omniform_medical.plan import Plan
from omniform_medical.quality import Quality, dice, expected_dice, fit_quality
from omniform_medical.segmentation import Segmentations
from omniform_medical.store import Store, store_for

__all__ = ["PatchDatasets", "Segmenting", "segment_network", "store_of"]

_LOSSES = {"dice-ce": dice_cross_entropy, "tversky": tversky_cross_entropy}
_LEARNING_RATE = 3e-3
_CALIBRATION_CASES = 32
_CALIBRATION_VOXELS = 1 << 13  # of each case
_FITTING_PATCHES = 256  # that a part is fitted on before training


def segment_network(config: SegmentConfig, mixer: str, channels: int) -> Network:
    """Describe the network of `config.model` over a mixer, by the plan that the config holds.

    Raises:
        ConfigError: there is no such mixer, or the plan is not whole.
    """
    find_mixer(mixer)  # refused now, not at the first build
    plan = Plan.of(config)
    build = _Build(config, plan, mixer, channels)
    return Network(
        build=build,
        objective=_Objective(config),
        dataset=PatchDatasets(config),
        decode=decode,
        assemble=_never,
        stream=_Stream(config),
        fixed=("model.stem", "model.head"),
        initialize=_initializer(config),
        calibrate=_Calibrate(config),
        batch_size=plan.batch,
        learning_rate=_LEARNING_RATE,
    )


def store_of(cohort: Cohort, config: SegmentConfig) -> Store:
    """Return the prepared cases of a cohort; half of the memory that training may take is for them."""
    return store_for(cohort, Plan.of(config), parse_bytes(config.memory) // 2)


class Segmenting(nn.Module):
    """A model with what was fitted on validation.

    Attributes:
        temperature: that logits are divided by before they are said as probabilities.
        quality: rows of `omniform_medical.quality.Quality`, how much its confidence says of Dice.
    """

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("quality", torch.from_numpy(Quality.unchecked(classes).rows()))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return logits `(B, K, *S)`, finest first, of patches `(B, C, *S)`."""
        return self.model(image)


def decode(model: nn.Module, batch: Patch) -> Tensor:
    """Return the probabilities of classes, `(B, K, *S)` float32."""
    return (model(batch.image)[0].float() / model.get_buffer("temperature")).softmax(dim=1)


def _never(decoded: Sequence[Any], items: Any) -> NoReturn:
    raise AssertionError("windows are put together as they come, by `stream`")


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    config: SegmentConfig
    plan: Plan
    mixer: str
    channels: int

    def __call__(self, size: Size) -> nn.Module:
        config = self.config
        classes = len(parse_labels(config.labels)[0])
        model = build_model(
            config.model,
            find_mixer(self.mixer),
            size,
            plan=self.plan,
            channels=self.channels,
            classes=classes,
            encoder=Size(**dict(zip(("dim", "hidden", "depth"), config.encoder_size, strict=True)))
            if config.encoder_size
            else None,
        )
        return Segmenting(model, classes)


@dataclass(frozen=True, slots=True)
class _Objective:
    config: SegmentConfig

    def __call__(self, model: nn.Module, batch: Patch, *, generator: Generator) -> Losses:
        total = deep_supervision(_LOSSES[self.config.loss], model(batch.image), batch.label)
        return Losses(total, {self.config.loss: total})


@dataclass(frozen=True, slots=True)
class PatchDatasets:
    """Patches of a cohort: cut and varied as the options say to train on, the middle ones as they are otherwise."""

    config: SegmentConfig

    def __call__(self, items: Cohort, train: bool) -> Dataset[Patch]:
        config = self.config
        store = store_of(items, config)
        if not train:
            return MiddlePatches(store)
        how = Augmentation(mirror=tuple("xyz".index(axis) for axis in config.mirror))
        warped = {"full": True, "light": False, "none": None}[config.augment]
        return TrainingPatches(store, foreground=config.foreground, how=how, warped=warped)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Segment case by case, by windows.

    Attributes:
        held: the store of the latest cohort, lest validation prepare its cases every time.
    """

    config: SegmentConfig
    held: deque[Store] = field(default_factory=lambda: deque(maxlen=1), compare=False)

    def __call__(self, decode_batch: Callable[[Patch], Tensor], items: Cohort) -> Segmentations:
        store = store_of(items, self.config)
        self.held.append(store)
        with _fast_format():
            cases = [
                segment(
                    partial(_decode_windows, decode_batch),
                    store[index],
                    store.plan,
                    classes=len(items.labels),
                    overlap=self.config.overlap,
                    mirror=self.config.mirror,
                    batch=store.plan.batch,
                )
                for index in range(len(store))
            ]
        return Segmentations(cases, items.labels, items.values)


def _decode_windows(decode_batch: Callable[[Patch], Tensor], windows: Tensor) -> Tensor:
    unknown = torch.zeros(len(windows), *windows.shape[2:], dtype=torch.uint8)
    return decode_batch(Patch(windows, unknown))


def _fast_format() -> AbstractContextManager[Any]:
    """Return autocast to bf16 where the machine multiplies in it, as convolutions then take a fraction of the time."""
    if torch.cuda.is_available():
        return torch.autocast("cuda", torch.bfloat16, enabled=torch.cuda.is_bf16_supported())
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _initializer(config: SegmentConfig) -> Callable[[nn.Module, Splits[Cohort]], None] | None:
    """Return what fits the parts that a model has before training, if it has any."""
    if config.encoder is not None:
        return _Transfer(config.encoder)
    return _FitFrozenPart(config) if config.model == "diamant" else None


@dataclass(frozen=True, slots=True)
class _Transfer:
    """Start from an encoder that was trained on other data sets."""

    folder: Path

    def __call__(self, model: nn.Module, splits: Splits[Cohort]) -> None:
        from omniform_medical.co_training import load_encoder

        assert isinstance(model, Segmenting)
        assert isinstance(model.model, Med3D)
        transfer(load_encoder(self.folder)[1], model.model)


@dataclass(frozen=True, slots=True)
class _FitFrozenPart:
    """Train on patches, without labels, the part of a model that is frozen afterwards."""

    config: SegmentConfig

    def __call__(self, model: nn.Module, splits: Splits[Cohort]) -> None:
        assert isinstance(model, Segmenting)
        patches = PatchDatasets(self.config)(splits.train, True)
        count = len(patches)  # pyright: ignore[reportArgumentType]
        drawn = [patches[index % count].image for index in range(max(_FITTING_PATCHES, count))]
        part: Any = model.model
        part.initialize(torch.stack(drawn))


@dataclass(frozen=True, slots=True)
class _Calibrate:
    """Fit on validation cases how sure the network may be, and what its confidence says of Dice."""

    config: SegmentConfig

    def __call__(self, predictor: Any, splits: Splits[Cohort]) -> None:
        store = store_of(splits.validation, self.config)
        self._fit_temperature(predictor.model, store)
        classes = len(splits.validation.labels)
        told = predictor.predict(splits.validation).cases
        truths = [store[index].truth for index in range(len(store))]
        expected = [expected_dice(case, classes) for case in told]
        true = [dice(case.label, truth, classes) for case, truth in zip(told, truths, strict=True) if truth is not None]
        rows = fit_quality(np.array(expected), np.array(true)).rows()
        predictor.model.get_buffer("quality").copy_(torch.from_numpy(rows))

    def _fit_temperature(self, model: nn.Module, store: Store) -> None:
        """Fit on voxels near the foreground, in the middle patch of every case."""
        patches = MiddlePatches(store)
        device = next(model.parameters()).device
        rng = np.random.default_rng(0)
        logits, labels = [], []
        for index in range(min(len(patches), _CALIBRATION_CASES)):
            patch = patches[index]
            with torch.no_grad(), _fast_format():
                told = model.eval()(patch.image[None].to(device))[0][0]  # (K, *S)
            classes = patch.label.numpy()
            places = np.flatnonzero(near_foreground(classes))
            places = rng.permutation(places)[:_CALIBRATION_VOXELS]
            logits.append(told.float().cpu().flatten(1).numpy()[:, places].T)
            labels.append(classes.reshape(-1)[places])
        if any(map(len, labels)):
            temperature = fit_temperature(np.concatenate(logits), np.concatenate(labels))
            model.get_buffer("temperature").fill_(temperature)
