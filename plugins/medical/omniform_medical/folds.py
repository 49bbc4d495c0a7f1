"""Cross-validation: every case that is not for testing is scored once, by a run that did not train on it.

OUT/request.json     what was asked, so that going on with something else is refused
OUT/fold-0/ ...      a run folder for each fold
OUT/folds.json       scores over all folds with their intervals, beside the floor's, and every case
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from omniform import commands
from omniform.compare.bootstrap import Difference
from omniform.errors import ConfigError, RunError
from omniform.estimator import NetworkPredictor
from omniform.run import Run
from omniform.serial import read_json, to_json
from omniform.task import Budget, Metric, Scores, Statistic, Units
from omniform.training.checkpoint import replace_file
from omniform.training.config import Training
from omniform.training.precision import resolve_device
from omniform_medical.cohort import Cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.metrics import CaseRow, against, case_table, interval
from omniform_medical.network import store_of
from omniform_medical.task import Segment

__all__ = ["Fold", "FoldsReport", "cross_validate"]

_REQUEST = "request.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """The scores of one run on the cases that it validated on, beside the floor's."""

    run: Path
    params: int
    metrics: Mapping[str, float | None]
    floor: Mapping[str, float | None]
    cases: tuple[CaseRow, ...]
    floor_cases: tuple[CaseRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldsReport:
    """Scores over the cases of all folds.

    Attributes:
        metrics, floor: means over cases with their 95 % intervals, by name.
        difference: of the primary metric to the floor's, over the same cases.
        verdict: which is better, in a sentence.
        notes: what the scores are of, and what they are not.
    """

    data: str
    mixer: str
    floor_name: str
    metrics: Mapping[str, Difference]
    floor: Mapping[str, Difference]
    difference: Difference
    verdict: str
    notes: tuple[str, ...]
    folds: tuple[Fold, ...]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"task": "cross-validate", **to_json(self)}


def cross_validate(
    source: str | Path,
    config: SegmentConfig,
    *,
    mixer: str,
    budget: Budget,
    training: Training,
    params: int,
    depth: int,
    seed: int,
    out: Path,
    progress: bool = True,
) -> FoldsReport:
    """Train a run for each fold into `out`, and score each on the cases that it left out.

    A fold that is finished is not trained again, one that was cut off goes on. Each fold plans by its own training
    cases.

    Args:
        budget: of one fold.

    Raises:
        ConfigError: an option is refused.
        DataError: the data is.
        RunError: `out` holds something else than this cross-validation.
    """
    if config.fold:
        raise ConfigError(f"expected no --fold, for all {config.folds} are gone through; got {config.fold}")
    task = Segment()
    data = task.read(source, config)
    asked = {"config": config, "mixer": mixer, "budget": budget, "training": training}
    asked |= {"params": params, "depth": depth, "seed": seed, "data": task.fingerprint(data)}
    _enter(out, to_json(asked))
    results = []
    for fold in range(config.folds):
        folder = out / f"fold-{fold}"
        if not (folder / "metrics.json").exists():  # written last
            commands.train(
                task,
                source,
                replace(config, fold=fold),
                domain="medical",
                mixer=mixer,
                budget=budget,
                training=training,
                params=params,
                depth=depth,
                seed=seed,
                out=folder,
                resume=(folder / "config.json").exists(),
                progress=progress,
            )
        results.append(_score(task, data, folder))
    report = _report(str(source), data, config, results, mixer=mixer, out=out)
    _write(out / "folds.json", report.as_json())
    return report


def _enter(out: Path, asked: Mapping[str, Any]) -> None:
    """Begin in a new folder, or go on in one that was begun alike."""
    path = out / _REQUEST
    if not path.exists():
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise RunError(f"expected --out to be new, empty or a cross-validation to go on with, got {out}")
        _write(path, asked)
        return
    was = read_json(path)
    for name in asked:
        if not isinstance(was, dict) or was.get(name) != asked[name]:
            raise RunError(f"the cross-validation in {out} was begun with another {name}; choose another --out")


@dataclass(frozen=True, slots=True)
class _Scored:
    """A fold with its scores, the network's and the floor's."""

    fold: Fold
    scores: tuple[Scores, Scores]


def _score(task: Segment, data: Cohort, folder: Path) -> _Scored:
    """Score a run, and a floor that learnt from the same cases, on the fold's validation cases."""
    run = Run.open(folder)
    config = run.task_config(task)
    splits = task.split(data, config)
    network = run.network(task, splits, config)
    model = run.load_model(network).to(resolve_device(run.spec.training.device))
    ours = NetworkPredictor(model, network, run.spec.training.batch_items).predict(splits.validation)
    theirs = task.floors(config)[0].estimator.fit(splits, seed=run.spec.seed).predict(splits.validation)
    store = store_of(splits.validation, config)
    truths = [case.truth for case in map(store.__getitem__, range(len(store))) if case.truth is not None]
    tables = [tuple(case_table(each, truths, data.labels)) for each in (ours, theirs)]
    scores = [task.score(each, splits.validation, config) for each in (ours, theirs)]
    metrics = [{name: _value(statistic) for name, statistic in each.statistics.items()} for each in scores]
    fold = Fold(
        run=folder,
        params=run.spec.params,
        metrics=metrics[0],
        floor=metrics[1],
        cases=tables[0],
        floor_cases=tables[1],
    )
    return _Scored(fold, (scores[0], scores[1]))


def _report(
    source: str, data: Cohort, config: SegmentConfig, results: Sequence[_Scored], *, mixer: str, out: Path
) -> FoldsReport:
    task = Segment()
    resolved = Run.open(results[0].fold.run).task_config(task)
    primary, floor_name = task.metrics(resolved)[0], task.floors(resolved)[0].name
    ours, theirs = (_joined([each.scores[which] for each in results]) for which in (0, 1))
    names = [name for name in ours.statistics if ours.statistics[name].weight.any()]
    difference = against(ours, theirs, primary.name)
    cases, testing = len(ours.statistics[primary.name].total), len(task.split(data, config).test)
    return FoldsReport(
        data=source,
        mixer=mixer,
        floor_name=floor_name,
        metrics={name: interval(ours, name) for name in names},
        floor={name: interval(theirs, name) for name in names if theirs.statistics[name].weight.any()},
        difference=difference,
        verdict=_verdict(primary, mixer, floor_name, difference),
        notes=(
            f"Each of the {cases} cases that are not for testing was scored once, by the run that did not train on it.",
            "That run's weights were chosen and its confidence calibrated on the same cases, as was the floor: the "
            "scores are a little too good.",
            f"The {testing} test cases were left alone: no score here is of them. Each run folder scores them once, as "
            "every training does.",
        ),
        folds=tuple(each.fold for each in results),
        out=out,
    )


def _joined(parts: Sequence[Scores]) -> Scores:
    """Put the cases of all folds behind each other; a patient is in one fold alone."""
    statistics = {
        name: Statistic(
            np.concatenate([part.statistics[name].total for part in parts]),
            np.concatenate([part.statistics[name].weight for part in parts]),
        )
        for name in parts[0].statistics
    }
    groups, first = [], 0
    for part in parts:
        if part.units.groups is not None:
            groups.append(part.units.groups + first)
            first = int(groups[-1].max()) + 1
    return Scores(statistics, Units(kind="group", groups=np.concatenate(groups) if groups else None))


def _value(statistic: Statistic) -> float | None:
    """Return a metric, `None` where no case has it."""
    return statistic.value() if statistic.weight.any() else None


def _verdict(primary: Metric, mixer: str, floor: str, difference: Difference) -> str:
    if not difference.excludes_zero:
        return f"{mixer} cannot be told from the {floor} floor by {primary.name} on these cases"
    better = (difference.value < 0) == primary.lower_is_better
    return f"{mixer} {'beats' if better else 'loses to'} the {floor} floor: {primary.name} {difference.value:+.4g}"


def _write(path: Path, value: Any) -> None:
    replace_file(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
