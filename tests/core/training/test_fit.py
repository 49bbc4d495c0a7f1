"""Training keeps its budget, its best weights, and quiet."""

from __future__ import annotations

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn
from toy_regression import Table, Validation, make_network, make_splits, make_table

from omniform.errors import ConfigError, DataError, OmniformError
from omniform.task import Budget, Losses, Network, Size, Splits
from omniform.training.checkpoint import load_checkpoint
from omniform.training.config import Training
from omniform.training.fit import Fit, Gate, Progress, fit
from omniform.training.schedule import rate_factor


def run(
    budget: Budget,
    *,
    training: Training | None = None,
    network: Network | None = None,
    splits: Splits[Table] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    lower_is_better: bool = True,
    seed: int = 0,
    folder: Path | None = None,
    gate: Gate | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Fit:
    network = network or make_network()
    splits = splits or make_splits()
    torch.manual_seed(0)
    return fit(
        network,
        network.build(Size(dim=8, hidden=16, depth=1)),
        splits,
        validate=validate or Validation(splits.validation),
        lower_is_better=lower_is_better,
        training=training or Training(batch_size=8, precision="32", device="cpu", learning_rate=0.01),
        budget=budget,
        seed=seed,
        folder=folder,
        gate=gate,
        on_progress=on_progress,
    )


def untrained() -> nn.Module:
    torch.manual_seed(0)
    return make_network().build(Size(dim=8, hidden=16, depth=1)).eval()


def test_learns_and_returns_the_best_weights() -> None:
    result = run(Budget(steps=300))
    splits = make_splits()
    scores = [record.validation for record in result.history if record.validation is not None]
    assert len(scores) == 10
    assert result.best_validation == min(scores) < 0.5 * Validation(splits.validation)(untrained())
    assert Validation(splits.validation)(result.model) == pytest.approx(result.best_validation)
    assert not result.model.training
    assert (result.steps, result.stopped) == (300, "budget")


def test_higher_is_better_where_the_metric_says_so() -> None:
    scores = iter([1.0, 3.0, 2.0, 0.5])
    seen: list[dict[str, torch.Tensor]] = []

    def validate(model: nn.Module) -> float:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(scores)

    training = Training(batch_size=8, precision="32", validate_every=0.25)
    result = run(Budget(steps=8), training=training, validate=validate, lower_is_better=False)
    assert result.best_validation == 3.0
    assert all(torch.equal(value, seen[1][name]) for name, value in result.model.state_dict().items())


def test_a_seed_decides_everything() -> None:
    first, again, other = run(Budget(steps=20)), run(Budget(steps=20)), run(Budget(steps=20), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert not torch.equal(next(first.model.parameters()), next(other.model.parameters()))


def test_the_rate_follows_the_schedule() -> None:
    result = run(Budget(steps=40))
    for record in result.history:
        assert record.learning_rate == pytest.approx(0.01 * rate_factor((record.step - 1) / 40, warmup=0.05))


def test_stops_when_patience_ends() -> None:
    training = Training(batch_size=8, precision="32", validate_every=0.1, patience=2)
    scores = iter([5.0, 4.0, 4.5, float("nan"), 1.0])
    result = run(Budget(steps=100), training=training, validate=lambda model: next(scores))
    assert (result.stopped, result.steps, result.best_validation) == ("patience", 40, 4.0)


def test_without_a_finite_validation_the_last_weights_stay() -> None:
    result = run(Budget(steps=3), validate=lambda model: float("nan"))
    assert result.best_validation is None
    assert result.steps == 3


def test_a_time_budget_counts_validation_and_keeps_room_for_the_last() -> None:
    validate_seconds = 0.1
    inner = Validation(make_splits().validation)

    def validate(model: nn.Module) -> float:
        time.sleep(validate_seconds)
        return inner(model)

    training = Training(batch_size=8, precision="32", validate_every=0.25)
    result = run(Budget(seconds=2.0), training=training, validate=validate)  # long beside a busy machine's stalls
    assert 1.8 < result.seconds < 2.3
    assert result.steps > 20
    validated = [record.validation is not None for record in result.history]
    assert 2 <= sum(validated) <= 5  # a stall of half a second passes over one
    assert validated[-1]
    assert result.history[-1].learning_rate < 0.2 * max(record.learning_rate for record in result.history)


def test_gradients_are_clipped() -> None:
    def steep(model: nn.Module, batch: Any, *, generator: Generator) -> Losses:
        return Losses(1e6 * model(batch[0]).square().mean())

    norms: list[float] = []
    network = make_network(dropout=0.0, loss=steep)

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network.build(Size(dim=8, hidden=8, depth=1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    model = Spy()
    original = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, closure: Any = None) -> Any:
        loss = closure()
        gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        norms.append(float(torch.stack(gradients).norm()))
        original(self)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spy)
        splits = make_splits()
        fit(
            network,
            model,
            splits,
            validate=Validation(splits.validation),
            lower_is_better=True,
            training=Training(batch_size=8, precision="32", clip=0.5),
            budget=Budget(steps=3),
            seed=0,
        )
    assert norms == pytest.approx([0.5] * 3, rel=1e-3)


def test_modules_keep_their_mode_over_validation() -> None:
    modes: list[tuple[bool, bool]] = []

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Dropout(0.5).eval()
            self.linear = nn.Linear(6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.append((self.training, self.frozen.training))
            return self.linear(self.frozen(x))

    network = replace(make_network(), build=lambda size: Half())
    run(Budget(steps=2), network=network)
    training = [mode for mode in modes if mode[0]]
    assert (False, False) in modes, "validated in eval mode"
    assert training
    assert set(training) == {(True, training[0][1])}


def test_a_loss_that_is_not_finite_names_step_and_rate() -> None:
    count = 0

    def objective(model: nn.Module, batch: Any, *, generator: Generator) -> Losses:
        nonlocal count
        count += 1
        return Losses(model(batch[0]).mean() * (float("inf") if count > 4 else 1.0))  # one call warms up

    with pytest.raises(OmniformError, match=r"at step 4 at learning rate 0\.00839"):
        run(Budget(steps=10), network=make_network(loss=objective))


def test_mistakes_are_told_before_training() -> None:
    empty = Splits(make_table(0, 0), make_table(3, 0), make_table(3, 0))
    with pytest.raises(DataError, match="at least one item"):
        run(Budget(steps=1), splits=empty)
    with pytest.raises(ConfigError, match="seed"):
        run(Budget(steps=1), seed=-1)


def test_progress_is_told_after_every_step() -> None:
    told: list[Progress] = []
    result = run(Budget(steps=10), on_progress=told.append)
    assert [progress.step for progress in told] == list(range(1, 11))
    assert told[-1].share == 1.0
    assert told[-1].best == result.best_validation


def test_says_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(Budget(steps=3))
    out, err = capfd.readouterr()
    assert (out, err, caplog.text) == ("", "", "")
    assert [str(warning.message) for warning in caught] == []
    assert list(tmp_path.iterdir()) == []


class Turns:
    """A gate that lets two threads alternate, and notes who held it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.held: list[str] = []
        self.wait = 0.0

    def gate(self, name: str) -> Gate:
        turns = self

        class One:
            def enter(self) -> None:
                turns.lock.acquire()
                turns.held.append(name)

            def leave(self) -> None:
                turns.lock.release()

        return One()


def test_threads_take_turns_and_do_not_disturb_each_other() -> None:
    alone = run(Budget(steps=25), seed=4)
    turns, results = Turns(), {}

    def work(name: str) -> None:
        network, splits = make_network(), make_splits()
        torch.manual_seed(0)
        results[name] = fit(
            network,
            models[name],
            splits,
            validate=Validation(splits.validation),
            lower_is_better=True,
            training=Training(batch_size=8, precision="32", device="cpu", learning_rate=0.01),
            budget=Budget(steps=25),
            seed=4,
            gate=turns.gate(name),
            progress=False,
        )

    models = {}
    for name in ("a", "b"):
        torch.manual_seed(0)
        models[name] = make_network().build(Size(dim=8, hidden=16, depth=1))
    threads = [threading.Thread(target=work, args=(name,)) for name in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not turns.lock.locked()
    for result in results.values():
        for one, other in zip(alone.model.parameters(), result.model.parameters(), strict=True):
            assert torch.equal(one, other)
    assert turns.held.count("a") == turns.held.count("b") == 26, "one turn a step, and one to choose the precision"


def test_a_failure_gives_the_turn_back() -> None:
    turns = Turns()
    with pytest.raises(OmniformError):
        run(
            Budget(steps=3),
            network=make_network(loss=lambda model, batch, generator: Losses(model(batch[0]).mean() * float("nan"))),
            gate=turns.gate("a"),
        )
    assert not turns.lock.locked()


def test_trains_in_bf16_with_weights_in_fp32(tmp_path: Path) -> None:
    result = run(Budget(steps=10), training=Training(batch_size=8, precision="bf16", device="cpu"), folder=tmp_path)
    assert result.precision == "bf16"
    assert {parameter.dtype for parameter in result.model.parameters()} == {torch.float32}
    assert all(record.loss < 100 for record in result.history)
    single = run(Budget(steps=10), training=Training(batch_size=8, precision="32", device="cpu"))
    assert result.history[0].loss != single.history[0].loss
    assert result.history[0].loss == pytest.approx(single.history[0].loss, rel=0.05)


def test_complex_and_tied_parameters_train_and_are_saved(tmp_path: Path) -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.second = nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.filter = nn.Parameter(torch.ones(4, dtype=torch.complex64))
            self.head = nn.Linear(6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.second(torch.tanh(self.first(x)))
            return self.head(torch.fft.irfft(torch.fft.rfft(hidden) * self.filter, n=6))

    result = run(Budget(steps=10), network=replace(make_network(), build=lambda size: Spectral()), folder=tmp_path)
    assert result.model.get_parameter("filter").imag.abs().sum() > 0
    saved = load_checkpoint(tmp_path / "checkpoint")["omniform"]["best_weights"]
    assert torch.equal(saved["filter"], result.model.get_parameter("filter"))
    assert torch.equal(saved["first.weight"], saved["second.weight"])


def test_an_interrupt_is_one_and_the_next_is_too() -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(Budget(steps=3), on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
