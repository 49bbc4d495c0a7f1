"""The test cases of a run one by one, beside those of the floor."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniform.compare.bootstrap import Difference
from omniform.errors import ConfigError, DataError, RunError
from omniform.estimator import NetworkPredictor
from omniform.run import Run
from omniform.serial import to_json
from omniform.training.precision import resolve_device
from omniform_medical.metrics import CaseRow, against, case_table, interval
from omniform_medical.network import store_of
from omniform_medical.output.files import replaced
from omniform_medical.task import Segment

__all__ = ["CaseScores", "check_cases_file", "score_cases", "write_cases"]

_ENDINGS = (".csv", ".json")
_SCORES = ("dice", "nsd", "hd95")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScores:
    """What a run and the floor do with every test case.

    Attributes:
        same_data: whether the run was trained on this data; else nothing says that its training cases are left out.
        rows, floor_rows: of the run and of the floor, case by case and label by label, in one order.
        metrics, floor: means over cases with their 95 % intervals, by name.
        differences: of each metric to the floor's, over the same cases.
    """

    mixer: str
    floor_name: str
    same_data: bool
    rows: tuple[CaseRow, ...]
    floor_rows: tuple[CaseRow, ...]
    metrics: Mapping[str, Difference]
    floor: Mapping[str, Difference]
    differences: Mapping[str, Difference]

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each case and label, the floor's scores beside the run's."""
        return [
            {
                **to_json(ours),
                **{f"floor_{name}": getattr(theirs, name) for name in (*_SCORES, "predicted_ml")},
            }
            for ours, theirs in zip(self.rows, self.floor_rows, strict=True)
        ]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        named = ("mixer", "floor_name", "same_data", "metrics", "floor", "differences")
        return {"task": "cases", **{name: to_json(getattr(self, name)) for name in named}, "cases": self.table()}


def score_cases(run: str | Path, source: str | Path) -> CaseScores:
    """Score a run on the test part of `source` case by case, beside a floor that learnt from its training part.

    Raises:
        RunError: the run folder is missing, damaged or of another task.
        DataError: the data is refused, or none of it is for testing.
    """
    opened = Run.open(Path(run))
    task = Segment()
    told = opened.spec
    if (told.domain, told.task) != ("medical", task.name):
        raise RunError(f"expected a run of medical {task.name} in {run}, got {told.domain} {told.task}")
    config = opened.task_config(task)
    data = task.read(source, config)
    splits = task.split(data, config)
    if not len(splits.test):
        raise DataError(f"expected cases to test on in {source}, got none; train with another --test")
    network = opened.network(task, splits, config)
    model = opened.load_model(network).to(resolve_device(told.training.device))
    floor = task.floors(config)[0]
    predictions = (
        NetworkPredictor(model, network, told.training.batch_items).predict(splits.test),
        floor.estimator.fit(splits, seed=told.seed).predict(splits.test),
    )
    store = store_of(splits.test, config)
    truths = [case.truth for case in map(store.__getitem__, range(len(store))) if case.truth is not None]
    rows, floor_rows = (tuple(case_table(each, truths, data.labels)) for each in predictions)
    ours, theirs = (task.score(each, splits.test, config) for each in predictions)
    both = [name for name in ours.statistics if ours.statistics[name].weight.any()]
    beside = [name for name in both if theirs.statistics[name].weight.any()]
    return CaseScores(
        mixer=told.mixer,
        floor_name=floor.name,
        same_data=task.fingerprint(data) == opened.data.fingerprint,
        rows=rows,
        floor_rows=floor_rows,
        metrics={name: interval(ours, name) for name in both},
        floor={name: interval(theirs, name) for name in beside},
        differences={name: against(ours, theirs, name) for name in beside},
    )


def check_cases_file(path: Path) -> str:
    """Return the ending by which scores are written.

    Raises:
        ConfigError: it is neither `.csv` nor `.json`.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"expected --out to end in .csv or .json, got {path.name!r}")
    return path.suffix.lower()


def write_cases(scores: CaseScores, path: Path) -> None:
    """Write every case to `.csv`, or all to `.json`: the whole file or none of it.

    Raises:
        ConfigError: another ending.
    """
    ending = check_cases_file(path)
    with replaced(path) as part:
        if ending == ".json":
            part.write_text(json.dumps(scores.as_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
            return
        table = scores.table()
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
