"""Resampling against brute force, and against what dependence does to an interval."""

import numpy as np
import pytest

from omniform.compare.bootstrap import Bootstrap
from omniform.task import Statistic, Units


def make_statistic(rng: np.random.Generator, size: int, link: str = "identity") -> Statistic:
    return Statistic(rng.gamma(2.0, size=size), rng.uniform(0.5, 2.0, size), link)  # type: ignore[arg-type]


def drawn_blocks(seed: int, replicates: int, size: int, block: int) -> list[list[int]]:
    """List the units of every replicate: whole circular blocks, the last cut short."""
    starts = np.random.default_rng(seed).integers(0, size, (replicates, -(-size // block)))
    return [[(start + i) % size for start in row for i in range(block)][:size] for row in starts]


def drawn_runs(seed: int, row: int, runs: int, replicates: int) -> np.ndarray:
    return np.random.default_rng((seed, row)).integers(0, runs, (replicates, max(1, runs - 1)))


def metric(run: Statistic, units: list[int]) -> float:
    ratio = sum(run.total[u] for u in units) / sum(run.weight[u] for u in units)
    return ratio**0.5 if run.link == "sqrt" else ratio


@pytest.mark.parametrize("block", [1, 5, 7, 11, 23])
def test_time_blocks_equal_brute_force(block: int) -> None:
    rng = np.random.default_rng(3)
    size, replicates, seed = 23, 60, 5
    rows = [[make_statistic(rng, size, "sqrt") for _ in range(runs)] for runs in (1, 2, 4)]
    values = Bootstrap(Units(kind="time", block=block), size, replicates=replicates, seed=seed).replicate(rows)
    draws = drawn_blocks(seed, replicates, size, block)
    for index, row in enumerate(rows):
        chosen = drawn_runs(seed, index, len(row), replicates)
        expected = [np.mean([metric(row[run], draws[r]) for run in chosen[r]]) for r in range(replicates)]
        np.testing.assert_allclose(values[:, index], expected, rtol=1e-12)


@pytest.mark.parametrize("grouped", [True, False])
def test_groups_equal_brute_force(grouped: bool) -> None:
    rng = np.random.default_rng(4)
    size, replicates, seed = 30, 50, 9
    groups = rng.permutation(np.repeat(["b", "a", "d", "c"], [3, 12, 5, 10])) if grouped else None
    row = [make_statistic(rng, size)]
    values = Bootstrap(Units(kind="group", groups=groups), size, replicates=replicates, seed=seed).replicate([row])
    labels = sorted(set(groups)) if groups is not None else list(range(size))
    members = {label: [u for u in range(size) if groups is None or groups[u] == label] for label in labels}
    members = members if grouped else {u: [u] for u in range(size)}
    draws = np.random.default_rng(seed).integers(0, len(labels), (replicates, len(labels)))
    expected = [metric(row[0], [u for g in draw for u in members[labels[g]]]) for draw in draws]
    np.testing.assert_allclose(values[:, 0], expected, rtol=1e-12)


def test_interval_of_a_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    common = rng.gamma(2.0, size=400)
    first, second = (Statistic(common + shift, np.ones(400)) for shift in (0.1, 0.0))
    bootstrap = Bootstrap(Units(kind="time", block=10), 400)
    values = bootstrap.replicate([[first], [second]])
    difference = bootstrap.difference(values[:, 0], values[:, 1], 0.1)
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)
    assert np.ptp(values[:, 0]) > 0.1


def test_dependent_units_widen_the_interval() -> None:
    """AR(1) with coefficient 0.9: the standard error of the mean is sqrt(1.9 / 0.1) = 4.4 times the i.i.d. one."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=4000)
    series = np.zeros(4000)
    for i in range(1, 4000):
        series[i] = 0.9 * series[i - 1] + noise[i]
    statistic = Statistic(series, np.ones(4000))
    deviation = {b: Bootstrap(Units(kind="time", block=b), 4000).replicate([[statistic]]).std() for b in (1, 100)}
    truth = 1 / (1 - 0.9) / np.sqrt(4000)
    assert deviation[1] == pytest.approx(truth / 4.36, rel=0.1)
    assert deviation[100] == pytest.approx(truth, rel=0.25)


def test_seeds_are_resampled_without_shrinking() -> None:
    """With units that do not vary, the variance over replicates is that of the mean of S runs, s^2 / S."""
    levels = np.array([0.30, 0.36, 0.45])
    row = [Statistic(np.full(50, level), np.ones(50)) for level in levels]
    values = Bootstrap(Units(kind="time", block=5), 50, replicates=20_000).replicate([row])
    assert values.mean() == pytest.approx(levels.mean(), abs=1e-3)
    assert values.var() == pytest.approx(levels.var(ddof=1) / 3, rel=0.05)


def test_too_few_blocks_give_no_interval() -> None:
    rng = np.random.default_rng(2)
    bootstrap = Bootstrap(Units(kind="time", block=40), 100)
    values = bootstrap.replicate([[make_statistic(rng, 100)], [make_statistic(rng, 100)]])
    difference = bootstrap.difference(values[:, 0], values[:, 1], 0.5)
    assert (difference.low, difference.high) == (None, None)
    assert not difference.excludes_zero


def test_counts_come_in_pieces_of_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(Bootstrap(Units(kind="time", block=4), 20, replicates=30).counts()))
    monkeypatch.setattr("omniform.compare.bootstrap._CHUNK", 100)
    pieces = list(Bootstrap(Units(kind="time", block=4), 20, replicates=30).counts())
    assert len(pieces) == 6
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert (whole.sum(axis=1) == 20).all()
