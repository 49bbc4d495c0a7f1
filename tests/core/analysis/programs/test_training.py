"""Training by annealing: a program for histograms comes out, and the emitted text solves what the network does."""

from __future__ import annotations

import pytest
import torch

from omniform.analysis.programs import (
    PADDING,
    Problem,
    ProgramConfig,
    TransformerProgram,
    accuracy,
    discretise,
    fit,
    make_histogram,
    to_python,
)
from omniform.errors import ConfigError


def _make(problem: Problem) -> TransformerProgram:
    torch.manual_seed(0)
    return TransformerProgram(
        ProgramConfig(tokens=problem.tokens, labels=problem.labels, length=problem.inputs.shape[1])
    )


def _emitted_accuracy(model: TransformerProgram, problem: Problem) -> float:
    """Return the share of asked labels that the emitted program gets right; it must say what the network says."""
    scope: dict = {}
    exec(compile(to_python(discretise(model)), "program", "exec"), scope)
    predicted = model.predict(problem.inputs).tolist()
    right = asked = 0
    for ids, targets, labels in zip(problem.inputs.tolist(), problem.targets.tolist(), predicted, strict=True):
        tokens = [problem.tokens[token] for token in ids if token != PADDING]
        answer = scope["run"](tokens)
        assert answer == [problem.labels[label] for label in labels[: len(tokens)]]
        for label, target in zip(answer, targets, strict=False):
            asked += target != PADDING
            right += target != PADDING and label == problem.labels[target]
    return right / asked


def test_a_short_training_lowers_the_loss_and_the_program_agrees() -> None:
    problem = make_histogram(letters=3, longest=4, count=100, seed=0)
    model = _make(problem)
    losses = fit(model, problem.inputs, problem.targets, steps=120, batch=64)
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])
    assert _emitted_accuracy(model, problem) == pytest.approx(accuracy(model, problem.inputs, problem.targets))


def test_the_seed_decides() -> None:
    problem = make_histogram(letters=3, longest=4, count=100, seed=0)
    runs = [fit(_make(problem), problem.inputs, problem.targets, steps=5, seed=seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_user_mistakes() -> None:
    problem = make_histogram(letters=2, longest=2, count=4, seed=0)
    model = _make(problem)
    with pytest.raises(ConfigError, match="targets for each input"):
        fit(model, problem.inputs, problem.targets[:2], steps=1)
    with pytest.raises(ConfigError, match="0 < coldest <= hottest"):
        fit(model, problem.inputs, problem.targets, steps=1, coldest=0.0)


@pytest.mark.slow
def test_learns_histograms_of_unseen_sequences() -> None:
    problem = make_histogram(letters=4, longest=6, count=1000, seed=0)
    train, test = problem.split(0.2)
    model = _make(problem)
    fit(model, train.inputs, train.targets, steps=1200, batch=128)
    assert accuracy(model, test.inputs, test.targets) >= 0.98
    assert _emitted_accuracy(model, test) == pytest.approx(accuracy(model, test.inputs, test.targets))
