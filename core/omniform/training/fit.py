"""Train a network for a budget and keep the weights that validate best."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException

from omniform import errors
from omniform.errors import ConfigError, DataError, OmniformError, RunError
from omniform.task import Budget, Network, Splits
from omniform.training.checkpoint import has_checkpoint, load_checkpoint, replace_file
from omniform.training.clock import Clock, Gate
from omniform.training.config import Training
from omniform.training.precision import choose_precision, resolve_device
from omniform.training.progress import Progress, ProgressBar
from omniform.training.sampler import Batches, StepSampler
from omniform.training.state import Record, State

if TYPE_CHECKING:
    from omniform.training.loop import TrainingLoop

__all__ = ["Fit", "Gate", "Progress", "Record", "fit"]

_PRECISION = "precision.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A trained network and how it got there.

    Attributes:
        model: on the CPU, in eval mode, with the weights of the best validation.
        steps: optimiser steps taken.
        seconds: wall time of reading, training and validating; compiling, probing and saving are not in it.
        cpu_seconds: the same in CPU time of this process (of rank 0's with several devices).
        best_validation: the best validation score; `None` if none was finite, and then the last weights are kept.
        history: some 500 records of the loss and one for every validation.
        precision: the number format; what `auto` chose.
        stopped: what ended the run.
    """

    model: nn.Module
    steps: int
    seconds: float
    cpu_seconds: float
    best_validation: float | None
    history: tuple[Record, ...]
    precision: Literal["32", "bf16"]
    stopped: Literal["budget", "patience"]


def fit(
    network: Network,
    model: nn.Module,
    splits: Splits[Any],
    *,
    validate: Callable[[nn.Module], float],
    lower_is_better: bool,
    training: Training,
    budget: Budget,
    seed: int,
    folder: Path | None = None,
    resume: bool = False,
    score_start: bool = False,
    gate: Gate | None = None,
    progress: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
) -> Fit:
    """Train `model` in place and return it with the weights of its best validation.

    A step is a pure function of the weights, the optimiser state and (seed, step): order of the data, dropout and the
    objective's generator. With a step budget on a CPU, resuming is therefore exact to the bit.

    Args:
        validate: scores the model, which it is given in eval mode and without gradients.
        folder: where checkpoints go, about every 30 s and at the end; `None` keeps none.
        resume: go on from the checkpoint in `folder`, or start if there is none yet.
        score_start: validate before the first step too, so that a start which training only worsens is kept.
        gate: entered for every step and validation and left after it. The time budget counts only what lies between.
        progress: draw a bar on stderr if it is a terminal.
        on_progress: called after every step; not with several devices, whose processes are not this one.

    Raises:
        ConfigError: settings that cannot work here.
        DataError: there is nothing to train on.
        RunError: the checkpoint cannot be read or belongs to another network.
        OmniformError: the loss is not finite.
    """
    _check(training, gate, seed)
    device = resolve_device(training.device)
    with ExitStack() as stack:
        if folder is None and training.devices > 1:  # the processes hand their result back through a checkpoint
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        checkpoints = None if folder is None else folder / "checkpoint"
        found = _restore(checkpoints, model) if resume else None
        clock = Clock(gate) if found is None else Clock(gate, seconds=found.seconds, cpu_seconds=found.cpu_seconds)
        if found is None:
            precision = _recall_precision(checkpoints) if resume else None
            if precision is None:
                batch = _first_batch(network, splits, training, seed)
                with clock.uncounted():
                    precision = choose_precision(training.precision, model, network.objective, batch, device)
                _record_precision(precision, checkpoints)
            state = State(precision=precision)
        else:
            state = found
        if progress and training.devices == 1 and state.stopped is None:
            on_progress = _both(stack.enter_context(ProgressBar()).show, on_progress)
        if state.stopped is None:
            from omniform.training.loop import TrainingLoop  # brings Lightning, which takes seconds

            loop = TrainingLoop(
                model=model,
                network=network,
                splits=splits,
                validate=validate,
                lower_is_better=lower_is_better,
                settings=training,
                budget=budget,
                seed=seed,
                state=state,
                clock=clock,
                folder=checkpoints,
                score_start=score_start,
                on_progress=on_progress if training.devices == 1 else None,
            )
            _run(loop, device, resume=found is not None)
            state = loop.state if training.devices == 1 else _restore(checkpoints, model)
    return _conclude(model, state)


def _check(training: Training, gate: Gate | None, seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"expected a seed of at least 0, got {seed}")
    if gate is not None and training.devices > 1:
        raise ConfigError(f"runs that take turns share one process: expected devices=1, got {training.devices}")


def _first_batch(network: Network, splits: Splits[Any], training: Training, seed: int) -> Any:
    dataset: Any = network.dataset(splits.train, True)
    if len(dataset) == 0:
        raise DataError("expected at least one item to train on, got none; check the split")
    sampler = StepSampler(len(dataset), batch_size=training.batch_items // training.devices, seed=seed)
    return Batches(dataset, sampler).batch(0)


def _restore(checkpoints: Path | None, model: nn.Module) -> State | None:
    """Return the progress in a checkpoint folder, `None` if there is none yet; the weights must fit the model."""
    if checkpoints is None or not has_checkpoint(checkpoints):
        return None
    tree = load_checkpoint(checkpoints)
    if not isinstance(tree.get("omniform"), dict) or not isinstance(tree.get("state_dict"), dict):
        raise RunError(f"expected a checkpoint of a training run in {checkpoints}, got something else; train again")
    saved = {name.removeprefix("model."): value.shape for name, value in tree["state_dict"].items()}
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    if saved != wanted:
        name = next(iter(sorted(saved.items() ^ wanted.items())))[0]
        raise RunError(
            f"expected {name} of shape {tuple(wanted.get(name, ()))} in {checkpoints}, got "
            f"{tuple(saved[name]) if name in saved else 'none'}; resume with the options that the run was started with"
        )
    return State.from_tree(tree["omniform"])


def _record_precision(precision: Literal["32", "bf16"], checkpoints: Path | None) -> None:
    """Write the number format down before training starts, in a folder emptied of older checkpoints."""
    if checkpoints is not None:
        shutil.rmtree(checkpoints, ignore_errors=True)
        replace_file(checkpoints / _PRECISION, json.dumps({"precision": precision}).encode())


def _recall_precision(checkpoints: Path | None) -> Literal["32", "bf16"] | None:
    """Return the number format of a run that was killed before its first checkpoint."""
    if checkpoints is None or not (checkpoints / _PRECISION).exists():
        return None
    try:
        precision = json.loads((checkpoints / _PRECISION).read_bytes())["precision"]
        if precision in ("32", "bf16"):
            return precision
    except (ValueError, KeyError, TypeError):
        precision = "broken JSON"
    raise RunError(f"expected precision 32 or bf16 in {checkpoints / _PRECISION}, got {precision!r}; delete the file")


def _both(first: Callable[[Progress], None], second: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        first(progress)
        if second is not None:
            second(progress)

    return tell


def _run(loop: TrainingLoop, device: torch.device, *, resume: bool) -> None:
    """Run the loop, and turn Lightning's ways of failing into ours."""
    from omniform.training.loop import run_loop

    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        run_loop(loop, device=device, resume=resume)
    except SystemExit:  # Lightning's answer to Ctrl-C, after which it ignores the key
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None
    except ProcessRaisedException as error:
        raise _own_error(error) from error
    except (PicklingError, AttributeError, TypeError) as error:
        if loop.settings.devices == 1 or "pickle" not in str(error):
            raise
        raise ConfigError(
            f"several devices are several processes, to which this network cannot be sent ({error}); "
            "build it from module-level functions and dataclasses, or use --devices 1"
        ) from error
    finally:
        loop.clock.stop()


def _own_error(error: ProcessRaisedException) -> Exception:
    """Return the `OmniformError` that a training process raised, or the error as it came."""
    found = re.search(r"^omniform\.errors\.(\w+): (.*)$", str(error), flags=re.MULTILINE)
    return getattr(errors, found[1], OmniformError)(found[2]) if found else error


def _conclude(model: nn.Module, state: State | None) -> Fit:
    assert state is not None, "a run with several devices saves a checkpoint at its end"
    assert state.stopped is not None
    model.to("cpu")
    if state.best_weights is not None:
        model.load_state_dict(state.best_weights)
    model.eval()
    return Fit(
        model=model,
        steps=state.step,
        seconds=state.seconds,
        cpu_seconds=state.cpu_seconds,
        best_validation=state.best,
        history=tuple(state.history),
        precision=state.precision,
        stopped=state.stopped,
    )
