"""The training runs of a comparison: one after another at matched steps, in turns at matched time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Thread
from typing import TYPE_CHECKING, Any

from omniform.compare.contender import Contender
from omniform.compare.progress import Tracker
from omniform.compare.turnstile import Interrupted, Turn, Turnstile
from omniform.task import Budget, Splits, Task

if TYPE_CHECKING:
    from omniform.estimator import NetworkPredictor
    from omniform.training.config import Training
    from omniform.training.fit import Fit

__all__ = ["RATES", "SEARCH_SHARE", "SLICE_SECONDS", "Trials", "search_budget"]

RATES = (5e-4, 2e-3, 8e-3)
"""The learning rates that every contender is tried at, unless one is given, in ascending order."""

SEARCH_SHARE = 1 / 3
"""Length of a run of the learning-rate search, as a share of the budget."""

SLICE_SECONDS = 2.0
"""Length of a turn, where contenders take turns."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """One training run, and where its result or its failure goes."""

    contender: Contender
    training: Training
    budget: Budget
    seed: int
    label: str
    work: float
    keep: Callable[[NetworkPredictor], None]
    fail: Callable[[Exception], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Everything that the runs of a comparison share."""

    task: Task[Any, Any]
    config: Any
    splits: Splits[Any]
    budget: Budget
    tracker: Tracker

    def search(self, contenders: Sequence[Contender]) -> None:
        """Choose each contender's learning rate: one short run per rate, seed 0, the best validation score wins.

        Such a run validates once, at its end: validation can take longer than so few steps.
        A rate at which training fails loses; a contender that fails at every rate has failed.
        """
        budget = search_budget(self.budget)
        causes: dict[str, Exception] = {}
        for rate in RATES:
            self._run([self._probe(contender, rate, budget, causes) for contender in contenders])
        for contender in contenders:
            scores = {rate: score for rate, score in contender.search.items() if score is not None}
            if not scores:
                contender.fail(causes[contender.name], "learning-rate search")
                continue
            choose = min if self.task.metrics(self.config)[0].lower_is_better else max
            best = choose(scores, key=lambda rate: scores[rate])
            contender.training = replace(contender.training, learning_rate=best)

    def repeat(self, contenders: Sequence[Contender], seed: int) -> None:
        """Train every contender that still stands with this seed, for the whole budget."""
        self._run([self._whole(contender, seed) for contender in contenders if contender.error is None])
        for contender in contenders:
            self.tracker.advance(f"{contender.name}, seed {seed}", 1.0)  # work that a failed one will never do

    def _probe(self, contender: Contender, rate: float, budget: Budget, causes: dict[str, Exception]) -> _Trial:
        def keep(predictor: NetworkPredictor) -> None:
            score = _fit(predictor).best_validation
            contender.search[rate] = score
            contender.training = replace(contender.training, precision=_fit(predictor).precision)
            if score is None:
                causes[contender.name] = ArithmeticError("no validation score was finite")

        def fail(error: Exception) -> None:
            contender.search[rate] = None
            causes[contender.name] = error

        label = f"{contender.name}, learning rate {rate:g}"
        training = replace(contender.training, learning_rate=rate, validate_every=1.0)
        return _Trial(contender, training, budget, 0, label, SEARCH_SHARE, keep, fail)

    def _whole(self, contender: Contender, seed: int) -> _Trial:
        def keep(predictor: NetworkPredictor) -> None:
            contender.predictors.append(predictor)
            contender.fits.append(_fit(predictor))
            contender.training = replace(contender.training, precision=_fit(predictor).precision)

        def fail(error: Exception) -> None:
            contender.fail(error, f"training, seed {seed}")

        label = f"{contender.name}, seed {seed}"
        return _Trial(contender, contender.training, self.budget, seed, label, 1.0, keep, fail)

    def _run(self, trials: Sequence[_Trial]) -> None:
        if self.budget.seconds is None:
            for trial in trials:
                self._attempt(trial, None)
        else:
            self._run_in_turn(trials)

    def _run_in_turn(self, trials: Sequence[_Trial]) -> None:
        """Run one thread per trial, a single one of them at a time."""
        turnstile = Turnstile(SLICE_SECONDS)
        turns = [turnstile.join() for _ in trials]
        threads = [
            Thread(target=self._take_turns, args=(trial, turn), name=trial.label, daemon=True)
            for trial, turn in zip(trials, turns, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            self.tracker.follow(threads)
        finally:
            turnstile.close()
            for thread in threads:
                thread.join()

    def _take_turns(self, trial: _Trial, turn: Turn) -> None:
        with suppress(Interrupted), turn:
            self._attempt(trial, turn)

    def _attempt(self, trial: _Trial, turn: Turn | None) -> None:
        try:
            predictor = self._train(trial, turn)
        except Exception as error:
            trial.fail(error)
            self.tracker.say(f"{trial.label}: failed, {type(error).__name__}: {error}")
        else:
            trial.keep(predictor)
            fit = _fit(predictor)
            best = math.nan if fit.best_validation is None else fit.best_validation
            self.tracker.say(f"{trial.label}: validation {best:.4g}, {fit.steps} steps, {fit.seconds:.1f} s")
        self.tracker.advance(trial.label, trial.work)

    def _train(self, trial: _Trial, turn: Turn | None) -> NetworkPredictor:
        from omniform.estimator import NetworkEstimator

        network, size = trial.contender.network, trial.contender.size
        assert network is not None
        assert size is not None
        estimator = NetworkEstimator(
            task=self.task,
            config=self.config,
            network=network,
            size=size,
            training=trial.training,
            budget=trial.budget,
            gate=turn,
            progress=False,
            on_progress=lambda progress: self.tracker.advance(
                trial.label, trial.work * progress.share, validation=progress.validation
            ),
        )
        return estimator.fit(self.splits, seed=trial.seed)


def _fit(predictor: NetworkPredictor) -> Fit:
    assert predictor.fit is not None, "it was just trained"
    return predictor.fit


def search_budget(budget: Budget) -> Budget:
    """Return the length of one run of the learning-rate search."""
    if budget.steps is not None:
        return Budget(steps=max(1, round(budget.steps * SEARCH_SHARE)))
    assert budget.seconds is not None
    return Budget(seconds=budget.seconds * SEARCH_SHARE)
