"""The words follow the interval: gain, loss, or neither."""

from __future__ import annotations

import numpy as np
import pytest

from omniform.task import Statistic
from omniform_codegen.personalization.comparison import ADDED_BITS, EXACT_MATCH, OTHER_BITS, compare, verdict

BEFORE = Statistic(np.linspace(180, 220, 20), np.full(20, 100.0))


def shifted(by: float, spread: float = 0.0) -> Statistic:
    noise = np.random.default_rng(0).normal(size=20) * spread
    return Statistic(BEFORE.total + 100 * (by + noise), BEFORE.weight)


def test_a_gain_is_told() -> None:
    told = compare(ADDED_BITS, BEFORE, shifted(-0.2, 0.05))
    assert told.outcome == "better"
    assert told.before == pytest.approx(2.0)
    assert told.difference.value == pytest.approx(-0.2, abs=0.05)
    assert verdict([told]).startswith("Gain: bits_per_byte 2.00 before, 1.79 after, -0.209 [")


def test_a_loss_is_told() -> None:
    text = verdict([compare(ADDED_BITS, BEFORE, shifted(0.2, 0.05))])
    assert text.startswith("Loss:")
    assert "Keep the base model" in text


def test_an_interval_that_holds_zero_is_no_gain() -> None:
    told = compare(ADDED_BITS, BEFORE, shifted(-0.01, 0.5))
    assert told.outcome == "unsure"
    assert verdict([told]).startswith("No gain shown")
    assert verdict([compare(ADDED_BITS, BEFORE, BEFORE)]).endswith("holds zero.")


def test_a_gain_does_not_hide_what_got_worse() -> None:
    gain = compare(ADDED_BITS, BEFORE, shifted(-0.2, 0.05))
    forgot = compare(OTHER_BITS, BEFORE, shifted(0.1, 0.05))
    matches = Statistic(np.full(20, 3.0), np.full(20, 4.0))
    fewer = compare(EXACT_MATCH, matches, Statistic(matches.total - np.arange(20) % 3, matches.weight))
    text = verdict([gain, fewer, forgot])
    assert text.startswith("Gain:")
    assert "exact_match got worse" in text
    assert "other_bits_per_byte got worse" in text


def test_more_matches_are_better() -> None:
    matches = Statistic(np.full(20, 1.0), np.full(20, 4.0))
    assert (
        compare(EXACT_MATCH, matches, Statistic(matches.total + np.arange(20) % 3, matches.weight)).outcome == "better"
    )


def test_five_commits_are_too_few() -> None:
    few = Statistic(BEFORE.total[:5], BEFORE.weight[:5])
    told = compare(ADDED_BITS, few, Statistic(few.total - 50, few.weight))
    assert told.outcome == "unsure"
    assert "too few" in verdict([told])


def test_units_without_weight_do_not_count() -> None:
    weight = np.concatenate([np.zeros(5), np.ones(15)])
    told = compare(EXACT_MATCH, Statistic(np.zeros(20), weight), Statistic(weight, weight))
    assert (told.units, told.after) == (15, 1.0)
