"""Choices: whole when hard, near it when cold, drawn in the right shares when noisy."""

from __future__ import annotations

import pytest
import torch

from omniform.analysis.programs.relaxation import Relaxed, hardest


def test_the_hard_choice_is_the_first_of_the_largest() -> None:
    scores = torch.tensor([[0.0, 2.0, 2.0], [-3.0, -4.0, -5.0]])
    assert hardest(scores).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_without_noise_it_is_the_softmax_at_a_temperature() -> None:
    scores = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    weights = torch.tensor([2.0, 4.0, 8.0], dtype=torch.float64).exp()
    torch.testing.assert_close(Relaxed(0.5)(scores), weights / weights.sum())


def test_cold_noise_draws_from_the_softmax() -> None:
    scores = torch.tensor([0.5, -0.5, 1.0])
    drawn = Relaxed(1e-4, torch.Generator().manual_seed(0))(scores.expand(20_000, 3))
    assert ((drawn > 0.999) | (drawn < 0.001)).double().mean() > 0.999
    torch.testing.assert_close(drawn.mean(0), scores.softmax(-1), atol=0.012, rtol=0)


@pytest.mark.parametrize("temperature", [3.0, 0.1])
def test_a_gradient_passes(temperature: float) -> None:
    scores = torch.zeros(4, requires_grad=True)
    Relaxed(temperature, torch.Generator().manual_seed(0))(scores)[0].backward()
    assert scores.grad is not None
    assert scores.grad.abs().sum() > 0
