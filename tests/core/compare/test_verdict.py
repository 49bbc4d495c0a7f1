"""The sentence that a comparison ends with."""

from collections.abc import Callable

import numpy as np
import pytest

from omniform.compare import numerals
from omniform.compare.ranking import rank, summarise
from omniform.compare.result import Row
from omniform.compare.verdict import verdict
from omniform.task import Metric, Scores, Statistic, Units

MSE = Metric(name="MSE")
DICE = Metric(name="Dice", lower_is_better=False)


def test_loss(make_row: Callable[..., Row], make_floor: Callable[..., Row]) -> None:
    rows = [make_floor("ridge", 0.370), make_row("gla", 0.381, (0.011, 0.004, 0.018))]
    assert verdict(rows, MSE) == (
        "No contender beats the ridge floor on this data at this budget "
        "(best: gla, MSE 0.381 against 0.370, difference +0.011 [+0.004, +0.018])."
    )


def test_level(make_row: Callable[..., Row], make_floor: Callable[..., Row]) -> None:
    rows = [make_row("gla", 0.361, (-0.009, -0.022, 0.004)), make_floor("ridge", 0.370)]
    assert verdict(rows, MSE) == (
        "No contender beats the ridge floor on this data at this budget; the best, gla, is level with it "
        "(MSE 0.361 against 0.370, difference -0.009 [-0.022, +0.004])."
    )


def test_win_names_who_is_level_with_the_winner(make_row: Callable[..., Row], make_floor: Callable[..., Row]) -> None:
    rows = [
        make_row("gla", 0.350, (-0.020, -0.030, -0.010), tied=True),
        make_row("mamba", 0.352, (-0.018, -0.030, -0.008), tied=True),
        make_row("attention", 0.360, (-0.010, -0.020, -0.001)),
        make_floor("ridge", 0.370),
    ]
    assert verdict(rows, MSE) == (
        "gla beats the ridge floor on this data at this budget "
        "(MSE 0.350 against 0.370, difference -0.020 [-0.030, -0.010]); level with gla: mamba."
    )


def test_a_sure_winner_goes_before_a_better_mean(make_row: Callable[..., Row], make_floor: Callable[..., Row]) -> None:
    rows = [
        make_row("shaky", 0.340, (-0.030, -0.090, 0.020)),
        make_row("sure", 0.360, (-0.010, -0.015, -0.005)),
        make_floor("ridge", 0.370),
    ]
    assert verdict(rows, MSE).startswith("sure beats the ridge floor")


def test_higher_is_better(make_row: Callable[..., Row], make_floor: Callable[..., Row]) -> None:
    metrics = {"metrics": {"Dice": {"mean": 0.85, "sd": None}}}
    floor = Row(name="atlas", role="floor", metrics={"Dice": {"mean": 0.80, "sd": None}})
    assert "beats the atlas floor" in verdict([make_row("a", 0, (0.05, 0.02, 0.08), **metrics), floor], DICE)
    assert verdict([floor, make_row("a", 0, (-0.05, -0.08, -0.02), **metrics)], DICE).startswith("No contender beats")


def test_without_interval_nothing_is_beaten(make_row: Callable[..., Row], make_floor: Callable[..., Row]) -> None:
    sentence = verdict([make_row("gla", 0.3, (-0.07,)), make_floor("ridge", 0.370)], MSE)
    assert sentence.startswith("No contender can be said to beat")
    assert "too few independent units for an interval" in " ".join(sentence.split())
    assert "level" not in sentence


def test_nothing_to_compare(make_row: Callable[..., Row], make_floor: Callable[..., Row]) -> None:
    failed = Row(name="gla", role="contender", error="boom")
    assert "No contender finished" in verdict([make_floor("ridge", 0.37), failed], MSE)
    assert "No floor" in verdict([make_row("gla", 0.37)], MSE)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.37, "0.370"), (0.0123456, "0.0123"), (12.34, "12.3"), (1530.2, "1530"), (0.0, "0.000"), (3e-9, "3.00e-09")],
)
def test_three_digits(value: float, text: str) -> None:
    assert numerals.level(value) == text


def test_counts_and_spans() -> None:
    assert [numerals.count(n) for n in (640, 198_304, 999_600, 1_250_000)] == ["640", "198k", "1.00M", "1.25M"]
    assert [numerals.span(s) for s in (0.44, 9.97, 21.3, 99.7, 200.2)] == [
        "0.4 s", "10 s", "21 s", "1 min 40 s", "3 min 20 s",
    ]  # fmt: skip
    assert numerals.score(0.3812, 0.0021) == "0.381 ± 0.002"


def test_ranking_marks_ties_and_puts_failures_last() -> None:
    rng = np.random.default_rng(0)
    base = rng.gamma(2.0, size=600)

    def runs(shift: float, noise: float, count: int) -> list[Scores]:
        units = Units(kind="time", block=5)
        total = [base + shift + noise * rng.normal(size=600) for _ in range(count)]
        return [Scores({"MSE": Statistic(part, np.ones(600))}, units) for part in total]

    names = {
        "floor": runs(0.0, 0.0, 1),
        "best": runs(-0.5, 0.3, 3),
        "twin": runs(-0.49, 0.3, 3),
        "far": runs(2, 0.3, 3),
    }
    entries = [
        (Row(name=name, role="floor" if name == "floor" else "contender", metrics=summarise(scores)), scores)
        for name, scores in names.items()
    ]
    entries.insert(0, (Row(name="failed", role="contender", error="boom"), []))
    rows, bootstrap = rank(entries, MSE)
    assert bootstrap is not None
    assert {row.name for row in rows[:2]} == {"best", "twin"}
    assert [row.name for row in rows[2:]] == ["floor", "far", "failed"]
    assert [row.tied for row in rows] == [True, True, False, False, False]
    far = next(row for row in rows if row.name == "far")
    assert far.against_floor is not None
    assert far.against_floor.value == pytest.approx(2.0, abs=0.05)
    assert far.against_floor.excludes_zero
    assert rows[2].against_floor is None
    assert rows[0].against_best is None
