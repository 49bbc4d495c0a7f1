"""Compare token mixers on a task at matched size and budget, beside the task's floors."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniform.compare.conclusion import conclude
from omniform.compare.contest import Contest
from omniform.compare.folder import claimed
from omniform.compare.progress import Progress, Tracker
from omniform.compare.result import CompareResult, Protocol
from omniform.compare.trials import RATES, SEARCH_SHARE, SLICE_SECONDS, search_budget
from omniform.errors import ConfigError
from omniform.serial import to_json
from omniform.task import Budget, Task

if TYPE_CHECKING:
    from omniform.training.config import Training

__all__ = ["compare"]


def compare(
    task: Task[Any, Any],
    source: str | Path,
    config: Any,
    *,
    domain: str,
    mixers: Sequence[str],
    budget: Budget,
    training: Training,
    params: int,
    depth: int,
    seeds: int,
    out: Path,
    command: str,
    progress: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
) -> CompareResult:
    """Train every mixer at the same size and budget, score it beside the floors, and write everything to `out`.

    Sizes are solved to `params` trainable parameters within 3 %. Unless `training` gives a learning rate, each mixer
    picks one of the same few on validation. Then come `seeds` runs each: at a budget of steps one after another, at a
    budget of time in turns of a few seconds. Test predictions are made and scored only when all training is over.

    A mixer that crashes or is incompatible becomes a row with an error, and the others go on.

    Args:
        command: the line that reproduces this, for the report.
        progress: draw a bar and a line per finished run on stderr.
        on_progress: called after every training step, in the caller's thread.

    Raises:
        ConfigError: an unknown mixer, an impossible number, or an `out` that holds something; before any work.
        OmniformError: the data is refused, or every mixer is.
    """
    mixers = list(dict.fromkeys(mixers))
    _check(mixers, budget, training, params=params, depth=depth, seeds=seeds)
    with claimed(out) as folder, warnings.catch_warnings():
        data = task.read(source, config)
        config = task.resolve(data, config)
        splits = task.split(data, config)
        contest = Contest(task=task, config=config, splits=splits, training=training, budget=budget)
        contest.enter(mixers, params=params, depth=depth)
        contest.fit_floors()
        with Tracker(_work(len(mixers), training, seeds), show=progress, on_progress=on_progress) as tracker:
            contest.train(seeds, tracker)
        contest.score()
        protocol = Protocol(
            budget=str(budget),
            schedule=_schedule(budget),
            params=params,
            depth=depth,
            seeds=seeds,
            search_budget=str(search_budget(budget)) if training.learning_rate is None else None,
            search={c.name: {f"{rate:g}": s for rate, s in c.search.items()} for c in contest.contenders if c.search},
            config=to_json(config),
            training=to_json(training),
            fingerprint=task.fingerprint(data),
            machine=_machine(training),
        )
        report = out.absolute() / "report.html"
        return conclude(
            contest, folder, domain=domain, data=str(source), command=command, protocol=protocol, report=report
        )


def _check(mixers: Sequence[str], budget: Budget, training: Training, *, params: int, depth: int, seeds: int) -> None:
    from omniform.plugins import find_mixer

    for name, value in (("params", params), ("depth", depth), ("seeds", seeds)):
        if value < 1:
            raise ConfigError(f"expected {name} of at least 1, got {value}")
    if not mixers:
        raise ConfigError("expected at least one mixer to compare, got none; `omniform zoo` lists them")
    if budget.seconds is not None and training.devices > 1:
        raise ConfigError("contenders share one process to take turns; compare by steps, or on one device")
    for name in mixers:
        find_mixer(name)


def _work(contenders: int, training: Training, seeds: int) -> float:
    """Return the training to be done, in runs of the whole budget."""
    return contenders * (seeds + (len(RATES) * SEARCH_SHARE if training.learning_rate is None else 0.0))


def _schedule(budget: Budget) -> str:
    if budget.steps is not None:
        return "matched in optimiser steps, one run after another"
    return (
        f"matched in wall-clock time, contenders taking turns of about {SLICE_SECONDS:g} s; validation counts, "
        "compilation and waiting do not"
    )


def _machine(training: Training) -> str:
    import torch

    from omniform.training.precision import resolve_device

    threads = torch.get_num_threads()
    machine = f"{platform.system()} {platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
    on_gpu = resolve_device(training.device).type == "cuda"
    return f"{machine}, {torch.cuda.get_device_name()}" if on_gpu else machine
