"""The learning rate follows the share of the budget."""

import math

import pytest

from omniform.training.schedule import crosses, rate_factor


def test_rises_in_a_line_then_falls_as_a_cosine() -> None:
    assert rate_factor(0.05, warmup=0.1) == pytest.approx(0.5)
    assert rate_factor(0.1, warmup=0.1) == pytest.approx(1.0)
    assert rate_factor(0.55, warmup=0.1) == pytest.approx(0.5)
    assert rate_factor(0.325, warmup=0.1) == pytest.approx(0.5 + math.sqrt(2) / 4)
    assert rate_factor(1.0, warmup=0.1) == pytest.approx(0.0)
    assert rate_factor(1.7, warmup=0.1) == pytest.approx(0.0)


def test_the_first_step_moves_and_no_warmup_starts_at_the_peak() -> None:
    assert rate_factor(0.0, warmup=0.1) > 0
    assert rate_factor(0.0, warmup=0.0) == 1.0


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 30, 100, 1000])
@pytest.mark.parametrize("every", [0.05, 0.1, 0.2, 0.3, 1.0])
def test_each_multiple_is_crossed_once(steps: int, every: float) -> None:
    crossed = [crosses(step / steps, (step + 1) / steps, every=every) for step in range(steps)]
    assert sum(crossed) == min(steps, math.floor(1 / every + 1e-9))
    if steps == 10 and every == 0.1:
        assert all(crossed)
