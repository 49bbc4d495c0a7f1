"""The stages of a comparison: enter, fit the floors, train, score."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from omniform.compare.contender import Contender, FloorEntrant
from omniform.compare.cost import latency_ms, memory_mb
from omniform.compare.progress import Tracker
from omniform.compare.trials import Trials
from omniform.errors import OmniformError
from omniform.task import Budget, Metric, NamedFigure, Splits, Task

if TYPE_CHECKING:
    from omniform.training.config import Training

__all__ = ["Contest"]

_FIGURE_CONTENDERS = 2  # more predictions than these and the floor's make a picture that nobody can read


@dataclass(slots=True, kw_only=True)
class Contest:
    """A task, its data, the shared settings, and all who stand in a row; the methods are the stages, in order."""

    task: Task[Any, Any]
    config: Any
    splits: Splits[Any]
    training: Training
    budget: Budget
    floors: list[FloorEntrant] = field(default_factory=list)
    contenders: list[Contender] = field(default_factory=list)

    @property
    def primary(self) -> Metric:
        """What contenders are chosen and ranked by."""
        return self.task.metrics(self.config)[0]

    def enter(self, mixers: Sequence[str], *, params: int, depth: int) -> None:
        """Build every contender's network and solve its size.

        Raises:
            OmniformError: all of them were refused, so that there is nothing to compare.
        """
        refusals: list[OmniformError] = []
        for name in mixers:
            contender = Contender(name=name, training=self.training)
            try:
                self._solve(contender, params, depth)
            except Exception as error:
                contender.fail(error, "building")
                refusals += [error] if isinstance(error, OmniformError) else []
            self.contenders.append(contender)
        if len(refusals) == len(mixers):
            raise refusals[0]

    def fit_floors(self) -> None:
        """Fit the floors and take their time."""
        for floor in self.task.floors(self.config):
            entrant = FloorEntrant(name=floor.name)
            with entrant.guarded("fitting"):
                wall, cpu = time.perf_counter(), time.process_time()
                entrant.predictor = floor.estimator.fit(self.splits, seed=0)
                entrant.seconds, entrant.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
            self.floors.append(entrant)

    def train(self, seeds: int, tracker: Tracker) -> None:
        """Choose learning rates where none is given, then train every contender with every seed."""
        trials = Trials(task=self.task, config=self.config, splits=self.splits, budget=self.budget, tracker=tracker)
        if self.training.learning_rate is None:
            trials.search([contender for contender in self.contenders if contender.error is None])
        for seed in range(seeds):
            trials.repeat(self.contenders, seed)

    def score(self) -> None:
        """Predict and score the test split, and measure what a prediction costs."""
        for floor in self.floors:
            if floor.error is None:
                with floor.guarded("scoring"):
                    floor.predictions = floor.predictor.predict(self.splits.test)
                    floor.scores.append(self.task.score(floor.predictions, self.splits.test, self.config))
        for contender in self.contenders:
            if contender.error is None:
                with contender.guarded("scoring"):
                    self._score(contender)

    def figures(self) -> Iterator[NamedFigure]:
        """Yield the task's own figures of the best floor and the best contenders."""
        name, lower = self.primary.name, self.primary.lower_is_better
        chosen: dict[str, Any] = {}
        for entrants, number in ((self.floors, 1), (self.contenders, _FIGURE_CONTENDERS)):
            means = {e.name: fmean(run.statistics[name].value() for run in e.scores) for e in entrants if e.scores}
            best = sorted(means, key=lambda each, means=means: means[each], reverse=not lower)[:number]
            chosen |= {entrant.name: entrant.predictions for entrant in entrants if entrant.name in best}
        if chosen:
            yield from self.task.figures(chosen, self.splits.test, self.config)

    def validate_floor(self, name: str) -> float:
        """Return a floor's score on validation."""
        floor = next(floor for floor in self.floors if floor.name == name)
        predictions = floor.predictor.predict(self.splits.validation)
        return self.task.score(predictions, self.splits.validation, self.config).statistics[self.primary.name].value()

    def _solve(self, contender: Contender, params: int, depth: int) -> None:
        import torch

        from omniform.solver import count_parameters, solve_size

        contender.network = self.task.network(self.splits, self.config, contender.name)
        contender.training = self.training.for_network(contender.network)
        contender.size = solve_size(contender.network, params=params, depth=depth)
        with torch.device("meta"):
            contender.params = count_parameters(contender.network.build(contender.size))

    def _score(self, contender: Contender) -> None:
        for seed, predictor in enumerate(contender.predictors):
            predictions = predictor.predict(self.splits.test)
            scores = self.task.score(predictions, self.splits.test, self.config)
            if not math.isfinite(scores.values()[self.primary.name]):
                raise ArithmeticError(f"the test {self.primary.name} of seed {seed} is not finite")
            contender.scores.append(scores)
            if seed == 0:
                contender.predictions = predictions
                contender.latency_ms = latency_ms(predictor, self.splits.test)
                contender.memory_mb = memory_mb(predictor, self.splits.train)
