"""The number format is measured once, and measuring leaves no trace."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Generator, nn
from toy_regression import make_network, make_splits, plain_objective

from omniform.errors import ConfigError
from omniform.task import Losses, Size
from omniform.training.precision import choose_precision, move_to, resolve_device

CPU = torch.device("cpu")


def timed(single: float, half: float) -> Any:
    """Return an objective that takes these seconds in fp32 and under bf16 autocast."""

    def objective(model: nn.Module, batch: Any, *, generator: Generator) -> Losses:
        time.sleep(half if torch.is_autocast_enabled("cpu") else single)
        return plain_objective(model, batch, generator=generator)

    return objective


def choose(objective: Any, asked: Any = "auto", model: nn.Module | None = None) -> str:
    network, splits = make_network(), make_splits()
    model = network.build(Size(dim=8, hidden=8, depth=1)) if model is None else model
    batch = torch.from_numpy(splits.train.inputs[:4]), torch.from_numpy(splits.train.targets[:4])
    return choose_precision(asked, model, objective, batch, CPU)


def test_auto_takes_the_faster() -> None:
    assert choose(timed(0.02, 0.005)) == "bf16"
    assert choose(timed(0.005, 0.02)) == "32"


def test_what_is_asked_is_taken() -> None:
    assert choose(timed(0.0, 0.01), "bf16") == "bf16"
    assert choose(timed(0.01, 0.0), "32") == "32"


def test_a_model_without_bf16_kernels_stays_in_fp32() -> None:
    def objective(model: nn.Module, batch: Any, *, generator: Generator) -> Losses:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("not implemented for 'BFloat16'")
        return timed(0.01, 0.0)(model, batch, generator=generator)

    assert choose(objective) == "32"


def test_weights_buffers_and_gradients_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    choose(plain_objective, model=model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="--device cpu"):
        resolve_device("cuda")
    assert resolve_device("auto") == CPU


def test_batches_of_any_shape_are_moved() -> None:
    batch = {"x": torch.ones(2), "rest": [torch.ones(1), ("name", torch.zeros(1))]}
    moved = move_to(batch, torch.device("meta"))
    assert moved["x"].is_meta
    assert moved["rest"][1][1].is_meta
    assert moved["rest"][1][0] == "name"
