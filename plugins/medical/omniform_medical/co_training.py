"""Train one encoder on several data sets, a branch for each, and start other networks from it (arXiv 1904.00625)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from omniform.errors import ConfigError, RunError
from omniform.serial import from_json, read_json
from omniform.solver import solve_size
from omniform.task import Budget, Losses, Network, Size, Splits
from omniform.training.checkpoint import load_tensors, replace_file, save_tensors
from omniform.training.config import Training
from omniform.training.fit import fit
from omniform_medical.cohort import Cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.models.med3d import CoTraining, co_training_loss, encoder_weights
from omniform_medical.network import PatchDatasets
from omniform_medical.patches import Patch
from omniform_medical.plan import Plan
from omniform_medical.task import Segment

__all__ = ["Encoder", "co_train", "load_encoder"]

_WEIGHTS, _DESCRIPTION = "encoder.safetensors", "encoder.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """What `co_train` leaves behind: the encoder's size and what it was trained on.

    Attributes:
        size: width, hidden width and depth.
        channels: of every data set.
        patch, strides: of every data set.
        sources, fingerprints: of the data sets, in order.
        losses: on validation patches before and after training, averaged over data sets.
    """

    size: Size
    channels: int
    patch: tuple[int, ...]
    sources: tuple[str, ...]
    fingerprints: tuple[str, ...]
    losses: tuple[float, ...]


def co_train(
    sources: Sequence[str | Path],
    config: SegmentConfig,
    *,
    params: int,
    depth: int,
    budget: Budget,
    training: Training,
    seed: int,
    out: Path,
    progress: bool = True,
) -> Encoder:
    """Train the encoder of `Med3D` on data sets of any labels, and write it to the folder `out`.

    Every step takes a batch of each data set; a sample's gradient reaches the encoder and its own branch alone.
    Spacing and intensities are each data set's own, patch and strides those of the first.

    Raises:
        ConfigError: fewer than two data sets, other numbers of channels, or `out` holds something.
        DataError: a case cannot be read.
    """
    if len(sources) < 2:
        raise ConfigError(f"expected at least two data sets to train one encoder on, got {len(sources)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"expected --out to name a new folder, got {out}, which holds something")
    parts = _read(sources, config)
    channels, plan = len(parts[0].cohort.channels), Plan.of(parts[0].config)
    classes = [len(part.cohort.labels) for part in parts]

    def build(size: Size) -> nn.Module:
        return CoTraining(size, plan=plan, channels=channels, classes=classes)

    network = Network(
        build=build,
        objective=_objective,
        dataset=_Together(tuple(part.config for part in parts)),
        decode=_refuse,
        assemble=_refuse,
        batch_size=plan.batch,
        learning_rate=1e-3,
    )
    size = solve_size(network, params=params, depth=depth)
    torch.manual_seed(seed)
    model = build(size)
    splits = Splits(*(tuple(each) for each in zip(*(part.splits for part in parts), strict=True)))
    validate = _Validation(network, splits.validation)
    before = validate(model.eval())
    trained = fit(
        network,
        model,
        splits,
        validate=validate,
        lower_is_better=True,
        training=training.for_network(network),
        budget=budget,
        seed=seed,
        progress=progress,
    )
    encoder = Encoder(
        size=size,
        channels=channels,
        patch=plan.patch,
        sources=tuple(map(str, sources)),
        fingerprints=tuple(part.cohort.fingerprint for part in parts),
        losses=(before, trained.best_validation if trained.best_validation is not None else before),
    )
    out.mkdir(parents=True, exist_ok=True)
    save_tensors(out / _WEIGHTS, encoder_weights(trained.model.state_dict()))
    replace_file(out / _DESCRIPTION, (json.dumps(asdict(encoder), indent=2) + "\n").encode())
    return encoder


def load_encoder(path: Path) -> tuple[Encoder, dict[str, Tensor]]:
    """Return an encoder that `co_train` wrote, and its weights.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    for name in (_WEIGHTS, _DESCRIPTION):
        if not (path / name).is_file():
            raise RunError(f"expected a folder that `omniform medical co-train` wrote, but {path} has no {name}")
    description = path / _DESCRIPTION
    return from_json(Encoder, read_json(description), where=str(description)), load_tensors(path / _WEIGHTS)


@dataclass(frozen=True, slots=True)
class _Part:
    """One data set: its cases, its plan within the options, and train, validation and test."""

    cohort: Cohort
    config: SegmentConfig
    splits: tuple[Cohort, Cohort, Cohort]


def _read(sources: Sequence[str | Path], config: SegmentConfig) -> list[_Part]:
    task, parts = Segment(), []
    for source in sources:
        cohort = task.read(source, config)
        resolved = task.resolve(cohort, config)
        if parts:
            first = parts[0]
            if len(cohort.channels) != len(first.cohort.channels):
                raise ConfigError(
                    f"expected {len(first.cohort.channels)} channels in {source}, as {sources[0]} has, "
                    f"got {len(cohort.channels)}: one encoder sees one kind of input"
                )
            shared = {name: getattr(first.config, name) for name in ("patch", "stages", "batch", "dims")}
            resolved = replace(resolved, **shared)
        splits = task.split(cohort, resolved)
        parts.append(_Part(cohort, resolved, (splits.train, splits.validation, splits.test)))
    return parts


@dataclass(frozen=True, slots=True)
class _Together:
    """A patch of every data set at once; the shorter ones begin again."""

    configs: tuple[SegmentConfig, ...]

    def __call__(self, items: Sequence[Cohort], train: bool) -> Dataset[tuple[Patch, ...]]:
        return _Row([PatchDatasets(config)(cohort, train) for cohort, config in zip(items, self.configs, strict=True)])


class _Row(Dataset[tuple[Patch, ...]]):
    def __init__(self, parts: Sequence[Dataset[Patch]]) -> None:
        self.parts = parts
        self.counts = [len(part) for part in parts]  # pyright: ignore[reportArgumentType]

    def __len__(self) -> int:
        return max(self.counts)

    def __getitem__(self, index: int) -> tuple[Patch, ...]:
        return tuple(part[index % count] for part, count in zip(self.parts, self.counts, strict=True))


def _objective(model: nn.Module, batch: Sequence[Patch], *, generator: Generator) -> Losses:
    assert isinstance(model, CoTraining)
    total = co_training_loss(model, [(patch.image, patch.label) for patch in batch])
    return Losses(total, {"loss": total})


@dataclass(frozen=True, slots=True)
class _Validation:
    """The loss on the middle patch of every validation case."""

    network: Network
    items: Any

    def __call__(self, model: nn.Module) -> float:
        dataset: Any = self.network.dataset(self.items, False)
        assert isinstance(model, CoTraining)
        device = next(model.parameters()).device
        losses = []
        with torch.no_grad():
            for index in range(len(dataset)):
                row = [(part.image[None].to(device), part.label[None].to(device)) for part in dataset[index]]
                losses.append(co_training_loss(model, row).item())
        return sum(losses) / len(losses)


def _refuse(*_: Any) -> Any:
    raise AssertionError("an encoder predicts nothing by itself")
