"""The network of variables: cold it is the discrete one, and what is padded does not matter."""

from __future__ import annotations

import pytest
import torch

from omniform.analysis.programs.model import PADDING, SCALE, ProgramConfig, TransformerProgram
from omniform.analysis.programs.relaxation import Relaxed
from omniform.errors import ConfigError

CONFIG = ProgramConfig(tokens=("a", "b", "c", "d"), labels=("x", "y", "z"), length=6, layers=2)


def _make() -> tuple[TransformerProgram, torch.Tensor]:
    torch.manual_seed(0)
    ids = torch.randint(len(CONFIG.tokens), (32, CONFIG.length))
    ids[:, 3:][::2] = PADDING
    return TransformerProgram(CONFIG).double(), ids


def test_the_relaxed_network_nears_the_discrete_one_as_it_cools() -> None:
    model, ids = _make()
    there = (ids != PADDING)[..., None]
    discrete = torch.cat([part.flatten(2) for part in model.variables(ids)], -1)
    errors = []
    for temperature in (1.0, 0.1, 0.01, 1e-5):
        relaxed = torch.cat([part.flatten(2) for part in model.variables(ids, Relaxed(temperature))], -1)
        errors.append(((relaxed - discrete) * there).abs().max().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.5
    assert errors[-1] < 1e-9


def test_hard_variables_are_one_hot_and_whole() -> None:
    model, ids = _make()
    x, numbers = model.variables(ids)
    assert x.shape == (32, 6, 2 + 2 * 4, 6)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(x.sum(-1)[ids != PADDING], torch.ones_like(x[..., 0])[ids != PADDING])
    assert numbers.shape == (32, 6, 1 + 2 * 2)
    assert torch.equal(numbers, numbers.round())
    assert numbers.max() <= CONFIG.length


def test_padding_changes_nothing() -> None:
    model, ids = _make()
    short = ids[::2]
    torch.testing.assert_close(model(short, Relaxed(0.5))[:, :3], model(short[:, :3], Relaxed(0.5)))
    assert torch.equal(model.predict(short)[:, :3], model.predict(short[:, :3]))


def test_predictions_are_those_of_whole_weights() -> None:
    model, ids = _make()
    with torch.no_grad():
        model.head.weight.copy_(model.weights() / SCALE)
    assert torch.equal(model.predict(ids), model(ids).mul(SCALE).round().argmax(-1))


def test_user_mistakes() -> None:
    model, _ = _make()
    with pytest.raises(ConfigError, match="at most 6 tokens, got 7"):
        model(torch.zeros(1, 7, dtype=torch.long))
    with pytest.raises(ConfigError, match="names of their own"):
        ProgramConfig(tokens=("a", "a"), labels=("x",), length=3)
    with pytest.raises(ConfigError, match="layers of 1 or more, got 0"):
        ProgramConfig(tokens=("a",), labels=("x",), length=3, layers=0)
