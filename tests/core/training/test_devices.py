"""Two processes train as one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from device_objective import Noted, broken_objective
from toy_regression import Validation, make_network, make_splits, plain_objective

from omniform.errors import ConfigError, OmniformError
from omniform.task import Budget, Size
from omniform.training.config import Training
from omniform.training.fit import Fit, fit

STEPS, BATCH = 6, 8


def run(devices: int, objective: Any = plain_objective) -> Fit:
    network, splits = make_network(dropout=0.0, loss=objective), make_splits()
    torch.manual_seed(0)
    model = network.build(Size(dim=8, hidden=16, depth=1))
    training = Training(batch_size=BATCH, learning_rate=0.01, precision="32", device="cpu", devices=devices)
    return fit(
        network,
        model,
        splits,
        validate=Validation(splits.validation),
        lower_is_better=True,
        training=training,
        budget=Budget(steps=STEPS),
        seed=0,
        progress=False,
    )


def test_two_processes_share_every_batch_and_end_where_one_does(tmp_path: Path) -> None:
    both, one = run(2, Noted(tmp_path)), run(1)
    assert both.steps == STEPS
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(both.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert both.best_validation == pytest.approx(one.best_validation, rel=1e-4)
    for step in range(STEPS):
        halves = [(tmp_path / f"{rank}-{step}").read_text().split() for rank in (0, 1)]
        assert [len(half) for half in halves] == [BATCH // 2, BATCH // 2]
        assert not set(halves[0]) & set(halves[1])


def test_an_error_in_a_process_is_the_error_here() -> None:
    with pytest.raises(OmniformError, match="expected a finite loss, got nan at step 1"):
        run(2, broken_objective)


def test_a_network_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(ConfigError, match="use --devices 1"):
        run(2, lambda model, batch, generator: plain_objective(model, batch, generator=generator))
