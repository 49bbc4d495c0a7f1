"""The contract of a domain and of its tasks: one call checks everything that the shared commands rely on."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate
from typer.models import ArgumentInfo

from omniform.cli.domain import SHARED
from omniform.errors import PluginError
from omniform.estimator import NetworkPredictor
from omniform.serial import from_json, to_json
from omniform.solver import count_parameters
from omniform.specs import Domain, Ref
from omniform.task import Network, Scores, Size, Splits, Task
from omniform.testing.subject import expect, seeded

__all__ = ["check_config", "check_domain", "check_task"]

_SIZE = Size(dim=32, hidden=64, depth=1)
_BATCH = 16


def check_domain(domain: Domain) -> None:
    """Check that everything a domain refers to is there.

    Raises:
        AssertionError: names the promise that is broken.
    """
    expect(domain.title and domain.summary, f"the domain {domain.name} lacks a title or a summary")
    expect(domain.tasks, f"the domain {domain.name} has no task")
    for entries in (domain.tasks, domain.verbs):  # a verb may be called after the task whose runs it uses
        names = [entry.name for entry in entries]
        expect(len(set(names)) == len(names), f"two tasks or verbs of {domain.name} share a name: {names}")
    for module in domain.requires:
        expect(find_spec(module), f"the domain {domain.name} requires {module}, which is not installed")
    for entry in domain.tasks:
        expect(entry.summary, f"the task {entry.name} lacks a summary")
        task = _load(entry.task)()
        expect(task.name == entry.name, f"the domain calls its task {entry.name}, the class says {task.name}")
        check_config(task.config)
    for verb in domain.verbs:
        expect(verb.summary, f"the verb {verb.name} lacks a summary")
        command = _load(verb.command)
        expect(callable(command), f"{verb.command.path} is not a function")
        if verb.extends:
            lacking = _options(SHARED[verb.name][0]) - _options(command)
            expect(not lacking, f"the verb {verb.name} extends a command whose options it lacks: {sorted(lacking)}")
    if domain.app is not None and find_spec("streamlit"):
        expect(callable(_load(domain.app)), f"{domain.app.path} is not a function")
    if domain.demo is not None:
        expect(callable(_load(domain.demo)), f"{domain.demo.path} is not a function")


def check_config(config: type) -> None:
    """Check that options can be derived from a config and that it survives JSON."""
    name = config.__name__
    expect(dataclasses.is_dataclass(config), f"{name} is no dataclass")
    parameters = getattr(config, "__dataclass_params__", None)
    expect(parameters is not None and parameters.frozen, f"{name} is not frozen")
    for field in dataclasses.fields(config):
        expect(field.kw_only, f"the field {name}.{field.name} is not keyword-only")
        expect(field.metadata.get("help"), f"the field {name}.{field.name} has no metadata 'help'")
        given = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        expect(given, f"the field {name}.{field.name} has no default")
    _check_round_trip(config())


def check_task(
    task: Task[Any, Any],
    config: Any = None,
    *,
    source: str | Path = "sample",
    mixer: str = "attention",
    suffix: str = "",
) -> None:
    """Take a task through read, split, floors, network, one training step, prediction, scores, files and figures.

    Args:
        config: `task.config()` if None; one that makes the task small keeps this quick.
        source: what to read.
        mixer: the token mixer of the network.
        suffix: of the file that `write` is asked for, where the task goes by it.

    Raises:
        AssertionError: names the promise that is broken.
    """
    config = task.config() if config is None else config
    check_config(task.config)
    _check_metrics(task, config)
    splits, config = _check_data(task, source, config)
    floor, units = _check_floors(task, splits, config)
    network = task.network(splits, config, mixer)
    model = _check_build(network)
    _check_step(network, model, splits.train)
    predicted = _check_predictions(task, network, model, splits, config, units)
    new = _predict(network, model, task.predictor_items(source, config), batch_size=_BATCH)
    _check_write(task, (floor, new), suffix)
    _check_figures(task, {"floor": floor, "network": predicted}, splits.test, config)


def _options(command: Callable[..., None]) -> set[str]:
    """Return the names of what a command takes as options; its arguments go by their places."""
    parameters = inspect.signature(command).parameters.values()
    return {
        parameter.name
        for parameter in parameters
        if not any(isinstance(part, ArgumentInfo) for part in get_args(parameter.annotation))
    }


def _load(ref: Ref) -> Any:
    try:
        return ref.load()
    except PluginError as error:
        raise AssertionError(str(error)) from error


def _check_round_trip(config: Any) -> None:
    text = json.dumps(to_json(config), allow_nan=False)
    again = from_json(type(config), json.loads(text), where=type(config).__name__)
    expect(again == config, f"{config} became {again} on its way through JSON")


def _check_metrics(task: Task[Any, Any], config: Any) -> None:
    names = [metric.name for metric in task.metrics(config)]
    expect(task.name and names, "the task lacks a name or metrics")
    expect(len(set(names)) == len(names), f"two metrics share a name: {names}")


def _check_data(task: Task[Any, Any], source: str | Path, config: Any) -> tuple[Splits[Any], Any]:
    """Read and split twice; return the splits and the resolved config."""
    data = task.read(source, config)
    fingerprint = task.fingerprint(data)
    expect(re.fullmatch(r"[0-9a-f]{64}", fingerprint), f"expected a SHA-256 in hexadecimal, got {fingerprint!r}")
    resolved = task.resolve(data, config)
    expect(task.resolve(data, resolved) == resolved, "resolving a resolved config changes it")
    _check_round_trip(resolved)
    splits = task.split(data, resolved)
    parts = (splits.train, splits.validation, splits.test)
    expect(len({id(part) for part in parts}) == 3, "two splits are one object")
    expect(task.fingerprint(data) == fingerprint, "splitting changed the data")
    expect(
        task.fingerprint(task.read(source, config)) == fingerprint, "the same data read again has another fingerprint"
    )
    return splits, resolved


def _check_floors(task: Task[Any, Any], splits: Splits[Any], config: Any) -> tuple[Any, int]:
    """Fit, predict and score every floor; return the predictions of the first and the number of units."""
    floors = task.floors(config)
    names = [floor.name for floor in floors]
    expect(floors, "the task has no floor")
    expect(len(set(names)) == len(names), f"two floors share a name: {names}")
    results = []
    for floor in floors:
        expect(floor.summary, f"the floor {floor.name} lacks a summary")
        predictions = floor.estimator.fit(splits, seed=0).predict(splits.test)
        results.append((predictions, _check_scores(task, predictions, splits.test, config, f"the floor {floor.name}")))
    counts = {len(next(iter(scores.statistics.values())).weight) for _, scores in results}
    expect(len(counts) == 1, f"floors are scored over different numbers of units: {sorted(counts)}")
    return results[0][0], counts.pop()


def _check_scores(task: Task[Any, Any], predictions: Any, items: Any, config: Any, who: str) -> Scores:
    scores = task.score(predictions, items, config)
    names = {metric.name for metric in task.metrics(config)}
    expect(set(scores.statistics) == names, f"{who} has the scores {sorted(scores.statistics)}, not {sorted(names)}")
    shapes = {array.shape for s in scores.statistics.values() for array in (s.total, s.weight)}
    expect(len(shapes) == 1 and len(min(shapes)) == 1, f"statistics of {who} are not of one shape (U,): {shapes}")
    for name, statistic in scores.statistics.items():
        expect(np.all(statistic.weight >= 0), f"{name} of {who} has negative weights")
        expect(math.isfinite(statistic.value()), f"{name} of {who} is {statistic.value()}")
    groups = scores.units.groups
    expect(scores.units.block >= 1, f"units of {who} are resampled in blocks of {scores.units.block}")
    expect(groups is None or groups.shape in shapes, f"{who} has not one group for each unit")
    return scores


def _check_build(network: Network) -> nn.Module:
    """Build without memory, then in earnest; return the module."""
    with torch.device("meta"):
        empty = network.build(_SIZE)
    with seeded():
        model = network.build(_SIZE)
    counts = count_parameters(empty), count_parameters(model)
    expect(counts[0] == counts[1], f"{counts[0]} parameters on the meta device, {counts[1]} on a real one")
    strange = set(network.fixed) - {name for name, _ in model.named_modules()}
    expect(not strange, f"'fixed' names what the network does not hold: {', '.join(sorted(strange))}")
    return model


def _check_step(network: Network, model: nn.Module, items: Any) -> None:
    """Take one training step's loss and gradients."""
    dataset: Any = network.dataset(items, True)
    expect(len(dataset), "the training split is empty")
    batch = default_collate([dataset[i] for i in range(min(_BATCH, len(dataset)))])
    with seeded():
        losses = network.objective(model.train(), batch, generator=torch.Generator().manual_seed(0))
    expect(losses.total.ndim == 0, f"expected one loss, got the shape {tuple(losses.total.shape)}")
    expect(losses.total.isfinite(), f"the loss is {losses.total}")
    losses.total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            expect(parameter.grad is not None, f"the parameter {name} has no part in the loss")
            expect(parameter.grad is None or parameter.grad.isfinite().all(), f"the gradient of {name} is not finite")


def _check_predictions(
    task: Task[Any, Any], network: Network, model: nn.Module, splits: Splits[Any], config: Any, units: int
) -> Any:
    """Predict all items in batches of two sizes; neither may lose the last, incomplete one."""
    count = len(network.dataset(splits.test, False))  # pyright: ignore[reportArgumentType]
    sizes = _uneven(count), count
    predictions = [_predict(network, model, splits.test, batch_size=size) for size in sizes]
    scores = [_check_scores(task, p, splits.test, config, "the network") for p in predictions]
    for size, score in zip(sizes, scores, strict=True):
        own = len(next(iter(score.statistics.values())).weight)
        expect(own == units, f"the floor is scored over {units} units, {count} items in batches of {size} over {own}")
    first, second = (score.values() for score in scores)
    for name, value in first.items():
        same = math.isclose(value, second[name], rel_tol=1e-3, abs_tol=1e-6)
        expect(same, f"{name} depends on the batch size: {value} at {sizes[0]}, {second[name]} at {sizes[1]}")
    return predictions[0]


def _uneven(count: int) -> int:
    """Return a batch size that leaves an incomplete last batch, where there is one."""
    return next((size for size in range(max(2, count // 4), count) if count % size), max(1, count))


def _predict(network: Network, model: nn.Module, items: Any, *, batch_size: int) -> Any:
    return NetworkPredictor(model, network, batch_size).predict(items)


def _check_write(task: Task[Any, Any], predictions: Sequence[Any], suffix: str) -> None:
    """Write one prediction over another: the old file must be replaced whole, not edited, and nothing left beside."""
    with tempfile.TemporaryDirectory() as folder:
        path, kept = Path(folder, f"predictions{suffix}"), Path(folder, "kept")
        task.write(predictions[0], path)
        expect(path.exists(), f"write made no {path.name}")
        if path.is_file():
            old = path.read_bytes()
            expect(old, f"write left {path.name} empty")
            os.link(path, kept)
            task.write(predictions[1], path)
            expect(path.read_bytes(), f"write left {path.name} empty")
            expect(kept.read_bytes() == old, "write edits a file in place; a kill half-way would leave a broken one")
            kept.unlink()
        beside = sorted(other.name for other in Path(folder).iterdir() if other != path)
        expect(not beside, f"write leaves files beside its output: {', '.join(beside)}")


def _check_figures(task: Task[Any, Any], predictions: dict[str, Any], items: Any, config: Any) -> None:
    figures = list(task.figures(predictions, items, config))
    names = [figure.name for figure in figures]
    expect(len(set(names)) == len(names), f"two figures share a name: {names}")
    for figure in figures:
        expect(figure.caption, f"the figure {figure.name} lacks a caption")
        picture = BytesIO()
        figure.figure.savefig(picture, format="png")
        expect(picture.tell() > 0, f"the figure {figure.name} draws nothing")
