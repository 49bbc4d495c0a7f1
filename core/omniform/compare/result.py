"""What a comparison found: rows, how they were compared, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from omniform.compare import numerals
from omniform.compare.bootstrap import Difference
from omniform.task import Metric

__all__ = ["CompareResult", "Protocol", "Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A floor or a contender, its means over seeds, and how it differs from the best.

    Attributes:
        params: trainable parameters; `None` for a floor.
        steps, seconds, cpu_seconds: of one training run, the mean over seeds.
        metrics: `{name: {"mean", "sd"}}` over seeds; `None` for what is not finite or, for sd, one run.
        size: width, hidden width and depth that the solver found.
        learning_rate: chosen on validation, or given.
        precision: number format of the training.
        latency_ms: median time of one prediction for one item.
        memory_mb: what backward keeps in memory for one training item.
        against_floor, against_best: difference of the primary metric from the best floor and the best contender.
        tied: level with the best contender (its own interval against it includes 0, or it is the best).
        error: one line, for a row that crashed or is incompatible.
    """

    name: str
    role: Literal["floor", "contender"]
    params: int | None = None
    steps: int | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    seeds: int = 0
    horizon: int | None = None
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    size: Mapping[str, int] | None = None
    learning_rate: float | None = None
    precision: str | None = None
    latency_ms: float | None = None
    memory_mb: float | None = None
    against_floor: Difference | None = None
    against_best: Difference | None = None
    tied: bool = False
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        row = asdict(self)
        if self.horizon is None:
            del row["horizon"]
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How the contenders were made comparable.

    Attributes:
        search: learning rate -> validation score, for every contender.
        config, training: the task's options, inferred ones written down, and those of training.
        fingerprint: SHA-256 of the data's values.
    """

    budget: str
    schedule: str
    params: int
    depth: int
    seeds: int
    search_budget: str | None
    search: Mapping[str, Mapping[str, float | None]]
    config: Mapping[str, Any]
    training: Mapping[str, Any]
    fingerprint: str
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareResult:
    """The outcome of `omniform.compare.compare`; rows stand best first, failed ones last.

    Attributes:
        intervals: how the intervals were made, in words.
        notes: what else a reader must know.
    """

    domain: str
    task: str
    data: str
    command: str
    versions: Mapping[str, str]
    primary: Metric
    rows: Sequence[Row]
    verdict: str
    intervals: str
    report: Path
    protocol: Protocol
    notes: Sequence[str] = ()

    @property
    def best_floor(self) -> Row | None:
        return self._first("floor")

    @property
    def best_contender(self) -> Row | None:
        return self._first("contender")

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that every domain's `compare` prints."""
        return {
            "domain": self.domain,
            "task": self.task,
            "data": self.data,
            "command": self.command,
            "versions": dict(self.versions),
            "primary": self.primary.name,
            "lower_is_better": self.primary.lower_is_better,
            "rows": [row.as_json() for row in self.rows],
            "verdict": self.verdict,
            "intervals": self.intervals,
            "report": str(self.report),
            "protocol": asdict(self.protocol),
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """Return a plain table with the verdict under it, for the terminal."""
        floor = self.best_floor
        against = f"against {floor.name}" if floor else "against floor"
        header = ["", "role", "params", "steps", "time", self.primary.name, f"{against} (95 % interval)"]
        lines = [header, *(self._cells(row) for row in self.rows if row.error is None)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        table = ["  ".join(_pad(cell, i, widths[i]) for i, cell in enumerate(line)).rstrip() for line in lines]
        failed = [f"{row.name} failed: {row.error}" for row in self.rows if row.error is not None]
        return "\n".join([*table, *failed, "", self.verdict, f"Report: {self.report}"])

    def _cells(self, row: Row) -> list[str]:
        score = row.metrics[self.primary.name]
        steps = numerals.MISSING if row.steps is None else str(row.steps)
        against = numerals.difference(row.against_floor) if row.against_floor else numerals.MISSING
        return [
            row.name,
            row.role,
            numerals.count(row.params),
            steps,
            numerals.span(row.seconds),
            numerals.score(score["mean"], score["sd"]),
            against,
        ]

    def _first(self, role: str) -> Row | None:
        return next((row for row in self.rows if row.role == role and row.error is None), None)


def _pad(cell: str, column: int, width: int) -> str:
    return cell.ljust(width) if column < 2 or column > 4 else cell.rjust(width)
