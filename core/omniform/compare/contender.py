"""One mixer on its way through a comparison, and what becomes of it when it fails."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from omniform.errors import OmniformError

if TYPE_CHECKING:
    from omniform.estimator import NetworkPredictor
    from omniform.task import Network, Scores, Size
    from omniform.training.config import Training
    from omniform.training.fit import Fit

__all__ = ["Contender", "Entrant", "FloorEntrant"]


@dataclass(slots=True, kw_only=True)
class Entrant:
    """Whatever stands in a row: its scores, or why there are none.

    Attributes:
        scores: on the test set, one per run.
        predictions: of the first run on the test set, for the task's figures.
    """

    name: str
    scores: list[Scores] = field(default_factory=list)
    predictions: Any = None
    error: str | None = None
    trace: str = ""

    @contextmanager
    def guarded(self, stage: str) -> Iterator[None]:
        """Turn whatever is raised inside into this entrant's error, so that the others go on."""
        try:
            yield
        except Exception as error:
            self.fail(error, stage)

    def fail(self, error: Exception, stage: str) -> None:
        """Note an error, one line for the row and the traceback for the log; scores are void."""
        lines = str(error).strip().splitlines() or ["no message"]
        kind = "" if isinstance(error, OmniformError) else f"{type(error).__name__}: "
        self.error = f"{stage}: {kind}{lines[0]}"
        self.trace = "".join(traceback.format_exception(error))
        self.scores.clear()


@dataclass(slots=True, kw_only=True)
class FloorEntrant(Entrant):
    """A floor: fitted once, its time measured."""

    role: Literal["floor"] = "floor"
    predictor: Any = None
    seconds: float | None = None
    cpu_seconds: float | None = None


@dataclass(slots=True, kw_only=True)
class Contender(Entrant):
    """A mixer in the task's network, at the solved size.

    Attributes:
        training: settings of its runs; the chosen learning rate and number format are written into it.
        search: validation score of every learning rate tried; `None` for one that failed.
        predictors, fits: one per seed.
    """

    role: Literal["contender"] = "contender"
    network: Network | None = None
    size: Size | None = None
    params: int | None = None
    training: Training
    search: dict[float, float | None] = field(default_factory=dict)
    predictors: list[NetworkPredictor] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    latency_ms: float | None = None
    memory_mb: float | None = None
