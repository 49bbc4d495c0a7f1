"""What every domain can do: train, evaluate and predict. The command line and the apps call these and print."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniform.errors import ConfigError
from omniform.estimator import NetworkEstimator, NetworkPredictor
from omniform.preparation import prepare
from omniform.run import Run, RunSpec, Source, check_weights
from omniform.serial import to_json
from omniform.solver import count_parameters
from omniform.task import Budget, Floor, Metric, Network, Size, Splits, Task
from omniform.training.checkpoint import has_checkpoint, load_tensors
from omniform.training.config import Training
from omniform.training.precision import resolve_device

__all__ = ["EvaluateReport", "PredictReport", "TrainReport", "evaluate", "one_run_verdict", "predict", "train"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """A trained run and its test scores beside the floor's; `verdict` says in a sentence which is better."""

    task: str
    mixer: str
    params: int
    seconds: float
    metrics: Mapping[str, float]
    floor: Mapping[str, float]
    run: Path
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Return the shape that all domains share; a metric that is not finite is null."""
        return {
            "task": self.task,
            "mixer": self.mixer,
            "params": self.params,
            "seconds": self.seconds,
            "metrics": _plain(self.metrics),
            "floor": _plain(self.floor),
            "run": str(self.run),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateReport(TrainReport):
    """The test scores of a run on data; `seconds` is the time of the evaluation.

    Attributes:
        same_data: whether the data is what the run was trained on.
    """

    same_data: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictReport:
    """Files that were predicted from, and the files that were written."""

    task: str
    mixer: str
    seconds: float
    inputs: tuple[str, ...]
    outputs: tuple[Path, ...]
    run: Path

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return to_json(self)


def train(
    task: Task[Any, Any],
    source: str | Path,
    config: Any,
    *,
    domain: str,
    mixer: str,
    budget: Budget,
    training: Training,
    params: int,
    depth: int,
    seed: int,
    out: Path,
    resume: bool = False,
    init: Path | None = None,
    progress: bool = True,
) -> TrainReport:
    """Train one network, score it on the test split beside the floor, and write the run folder `out`.

    Nothing is written before data, options and size have been found good.

    Raises:
        OmniformError: a mistake in data, options or run folder.
    """
    resolve_device(training.device)
    data = task.read(source, config)
    prepared = prepare(task, data, config, mixer=mixer, params=params, depth=depth, training=training)
    config, network, size, training = prepared.config, prepared.network, prepared.size, prepared.training
    spec = RunSpec(
        domain=domain,
        task=task.name,
        mixer=mixer,
        params=_count(network, size),
        seed=seed,
        init=None if init is None else str(init),
        size=size,
        budget=budget,
        training=training,
        config=to_json(config),
    )
    weights = None if init is None else _initial_weights(init, network, size)
    record = Source(source=str(source), fingerprint=task.fingerprint(data))
    run = Run.resume(out, spec, record) if resume else Run.create(out, spec, record)
    estimator = NetworkEstimator(
        task=task,
        config=config,
        network=network,
        size=size,
        training=training,
        budget=budget,
        weights=weights,
        folder=out,
        resume=resume,
        progress=progress,
    )
    return _conclude(run, task, config, prepared.splits, _fit(estimator, prepared.splits, run))


def evaluate(run: Path, source: str | Path) -> EvaluateReport:
    """Score a run on the test split of `source`, beside a floor fitted to the same data.

    Raises:
        OmniformError: a mistake in data or run folder.
    """
    start = time.perf_counter()
    opened = Run.open(run)
    task = opened.task()
    config = opened.task_config(task)
    data = task.read(source, config)
    same = task.fingerprint(data) == opened.data.fingerprint
    if not same:
        _log.warning("%s is not the data that %s was trained on (%s)", source, run, opened.data.source)
    splits = task.split(data, config)
    network = opened.network(task, splits, config)
    scored = _score(task, config, splits, _load(opened, network), opened.spec)
    return EvaluateReport(
        task=task.name,
        mixer=opened.spec.mixer,
        params=opened.spec.params,
        seconds=time.perf_counter() - start,
        metrics=scored.metrics,
        floor=scored.floor_metrics,
        run=run,
        verdict=scored.verdict,
        same_data=same,
    )


def predict(run: Path, inputs: Sequence[str], out: Path) -> PredictReport:
    """Predict from new input and write it in the field's own format.

    One input is written to the file `out`; several into the folder `out`, each under the name of its input.

    Raises:
        OmniformError: a mistake in input, output or run folder.
    """
    start = time.perf_counter()
    opened = Run.open(run)
    task = opened.task()
    config = opened.task_config(task)
    outputs = _outputs(inputs, out)
    read = [task.predictor_items(source, config) for source in inputs]
    network = opened.network(task, Splits(read[0], read[0], read[0]), config)
    predictor = _load(opened, network)
    for items, path in zip(read, outputs, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        task.write(predictor.predict(items), path)
    return PredictReport(
        task=task.name,
        mixer=opened.spec.mixer,
        seconds=time.perf_counter() - start,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        run=run,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """Test scores of a network and of the floor, with their predictions by name."""

    metrics: dict[str, float]
    floor: str
    floor_metrics: dict[str, float]
    verdict: str
    predictions: dict[str, Any]


def _fit(estimator: NetworkEstimator, splits: Splits[Any], run: Run) -> NetworkPredictor:
    """Train; if that fails before anything was learnt, leave no run folder behind."""
    try:
        return estimator.fit(splits, seed=run.spec.seed)
    except Exception:
        if not estimator.resume and not has_checkpoint(run.path / "checkpoint"):
            run.discard()
        raise


def _conclude(
    run: Run, task: Task[Any, Any], config: Any, splits: Splits[Any], predictor: NetworkPredictor
) -> TrainReport:
    """Save weights, scores, figures and report."""
    fit = predictor.fit
    assert fit is not None
    run.save_model(predictor.model)
    scored = _score(task, config, splits, predictor, run.spec)
    run.save_metrics(
        {
            "metrics": _plain(scored.metrics),
            "floor": _plain(scored.floor_metrics),
            "floor_name": scored.floor,
            "verdict": scored.verdict,
            "validation": fit.best_validation,
            "steps": fit.steps,
            "seconds": fit.seconds,
            "cpu_seconds": fit.cpu_seconds,
            "precision": fit.precision,
            "stopped": fit.stopped,
            "history": [to_json(record) for record in fit.history],
        }
    )
    run.report(list(task.figures(scored.predictions, splits.test, config)))
    return TrainReport(
        task=task.name,
        mixer=run.spec.mixer,
        params=run.spec.params,
        seconds=fit.seconds,
        metrics=scored.metrics,
        floor=scored.floor_metrics,
        run=run.path,
        verdict=scored.verdict,
    )


def _score(
    task: Task[Any, Any], config: Any, splits: Splits[Any], predictor: NetworkPredictor, spec: RunSpec
) -> _Scored:
    floor: Floor = task.floors(config)[0]
    ours = predictor.predict(splits.test)
    theirs = floor.estimator.fit(splits, seed=spec.seed).predict(splits.test)
    metrics = task.score(ours, splits.test, config).values()
    floor_metrics = task.score(theirs, splits.test, config).values()
    return _Scored(
        metrics=metrics,
        floor=floor.name,
        floor_metrics=floor_metrics,
        verdict=one_run_verdict(task.metrics(config)[0], spec.mixer, metrics, floor.name, floor_metrics),
        predictions={spec.mixer: ours, floor.name: theirs},
    )


def one_run_verdict(
    primary: Metric, mixer: str, metrics: Mapping[str, float], floor: str, floor_metrics: Mapping[str, float]
) -> str:
    """Say which is better by the primary metric; one run alone says nothing about chance."""
    name = primary.name
    ours, theirs = metrics[name], floor_metrics[name]
    better = ours < theirs if primary.lower_is_better else ours > theirs
    shown = f"{ours:.4g}", f"{theirs:.4g}"  # what looks alike is alike: one run cannot tell more
    word = "is level with" if shown[0] == shown[1] else "beats" if better else "loses to"
    return f"{mixer} {word} the {floor} floor: {name} {shown[0]} against {shown[1]}"


def _initial_weights(init: Path, network: Network, size: Size) -> dict[str, Tensor]:
    """Return another run's weights, if they fit."""
    run = Run.open(init)
    path = run.path / "model.safetensors"
    weights = load_tensors(path)
    remedy = f"--init takes a run of the same network; that one has mixer {run.spec.mixer} and {run.spec.size}"
    check_weights(weights, network, size, where=str(path), remedy=remedy)
    return weights


def _load(run: Run, network: Network) -> NetworkPredictor:
    device = resolve_device("auto")
    return NetworkPredictor(run.load_model(network).to(device), network, run.spec.training.batch_items)


def _count(network: Network, size: Size) -> int:
    with torch.device("meta"):
        return count_parameters(network.build(size))


def _outputs(inputs: Sequence[str], out: Path) -> list[Path]:
    """Return where each input's prediction goes."""
    if not inputs:
        raise ConfigError("expected at least one input to predict from, got none")
    if len(inputs) == 1:
        if out.is_dir():
            raise ConfigError(f"expected --out to name a file for one input, got the folder {out}")
        return [out]
    if out.is_file():
        raise ConfigError(f"expected --out to name a folder for {len(inputs)} inputs, got the file {out}")
    names = [Path(source).name for source in inputs]
    if len(set(names)) < len(names):
        raise ConfigError(f"expected inputs of different file names, got {', '.join(names)}; predict them one by one")
    return [out / name for name in names]


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
