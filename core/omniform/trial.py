"""One network trained beside a task's floors and scored on the same test: what a page shows, and hands back."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omniform.compare.ranking import rank, summarise
from omniform.compare.result import Row
from omniform.compare.verdict import verdict
from omniform.estimator import NetworkEstimator, NetworkPredictor
from omniform.preparation import prepare
from omniform.run import Run, RunSpec, Source
from omniform.serial import to_json
from omniform.solver import count_parameters
from omniform.task import Budget, Predictor, Scores, Splits, Task
from omniform.training.config import Training
from omniform.training.progress import Progress

__all__ = ["Trial", "run_trial"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What training one network came to.

    Attributes:
        task: its name.
        config: the task's options, inferred ones written down.
        predictors, predictions: by name, the network first; predictions are of the test.
        rows: best first, as in a comparison.
        verdict: a sentence.
        archive: the run folder as a zip file.
    """

    task: str
    config: Any
    splits: Splits[Any]
    predictors: Mapping[str, Predictor]
    predictions: Mapping[str, Any]
    rows: Sequence[Row]
    verdict: str
    archive: bytes


def run_trial(
    task: Task[Any, Any],
    data: Any,
    config: Any,
    *,
    domain: str,
    mixer: str,
    budget: Budget,
    params: int,
    source: str,
    on_progress: Callable[[float, str], None],
    depth: int = 2,
    seed: int = 0,
) -> Trial:
    """Train a network of `params` parameters, fit the floors to the same rows, and score all on the test.

    Args:
        data: what `task.read` returned.
        source: what the data is called in the run folder.
        on_progress: called after every step with the share of the budget that has elapsed, and a line.

    Raises:
        OmniformError: the data is too short, an option is refused, or the size cannot be met.
    """
    prepared = prepare(task, data, config, mixer=mixer, params=params, depth=depth, training=Training())
    config, splits = prepared.config, prepared.splits
    estimator = NetworkEstimator(
        task=task,
        config=config,
        network=prepared.network,
        size=prepared.size,
        training=prepared.training,
        budget=budget,
        progress=False,
        on_progress=lambda progress: on_progress(min(progress.share, 1.0), _line(mixer, progress)),
    )
    floors: dict[str, Predictor] = {floor.name: floor.estimator.fit(splits, seed=seed) for floor in task.floors(config)}
    trained = estimator.fit(splits, seed=seed)
    on_progress(1.0, "Scoring on the test rows")
    predictors: dict[str, Predictor] = {mixer: trained, **floors}
    predictions = {name: predictor.predict(splits.test) for name, predictor in predictors.items()}
    scores = {name: task.score(told, splits.test, config) for name, told in predictions.items()}
    primary = task.metrics(config)[0]
    rows, _ = rank([(_row(name, scored, trained, mixer), [scored]) for name, scored in scores.items()], primary)
    spec = RunSpec(
        domain=domain,
        task=task.name,
        mixer=mixer,
        params=count_parameters(trained.model),
        seed=seed,
        init=None,
        size=estimator.size,
        budget=budget,
        training=estimator.training,
        config=to_json(config),
    )
    return Trial(
        task=task.name,
        config=config,
        splits=splits,
        predictors=predictors,
        predictions=predictions,
        rows=rows,
        verdict=verdict(rows, primary),
        archive=_archive(trained, spec, Source(source=source, fingerprint=task.fingerprint(data))),
    )


def _line(mixer: str, progress: Progress) -> str:
    best = progress.best
    found = "" if best is None or not math.isfinite(best) else f", best validation score {best:.4g}"
    return f"Training {mixer}: step {progress.step:,}{found}"


def _row(name: str, scores: Scores, trained: NetworkPredictor, mixer: str) -> Row:
    metrics = summarise([scores])
    fit = trained.fit
    if name != mixer or fit is None:
        return Row(name=name, role="floor", seeds=1, metrics=metrics)
    return Row(
        name=name,
        role="contender",
        params=count_parameters(trained.model),
        steps=fit.steps,
        seconds=fit.seconds,
        cpu_seconds=fit.cpu_seconds,
        seeds=1,
        metrics=metrics,
        precision=fit.precision,
    )


def _archive(trained: NetworkPredictor, spec: RunSpec, source: Source) -> bytes:
    """Return the zip file of a run folder that is written nowhere else."""
    buffer = io.BytesIO()
    with TemporaryDirectory(prefix="omniform-") as folder, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        run = Run.create(Path(folder, "run"), spec, source)
        run.save_model(trained.model)
        for path in sorted(run.path.rglob("*")):
            file.write(path, path.relative_to(folder))
    return buffer.getvalue()
