"""The benchmark times only what is right, and beside what is installed."""

import json
import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from omniform_kernels.bench import Case, Target, __main__, runner, table
from omniform_kernels.bench.case import relative_error
from omniform_kernels.bench.timing import medians

CPU = torch.device("cpu")


def absent():
    raise ImportError("no module named peer")


def make(error=1e-7, **options):
    return Case(
        op="toy",
        name="forward",
        forms={"cpu": partial(time.sleep, 0.002)},
        peers={"slow": lambda: partial(time.sleep, 0.06), "gone": lambda: absent()},
        check=lambda: error,
        bound=1e-5,
        targets=(Target("cpu", "slow", 2), Target("cpu", "slow", 1000), Target("cpu", "gone", 1)),
        repeats=3,
        **options,
    )


@pytest.fixture
def bench(monkeypatch):
    """Stand cases in for those of an op called toy."""

    def install(*cases):
        monkeypatch.setattr(runner, "ops", lambda: ["toy"])
        monkeypatch.setattr(runner, "import_module", lambda name: SimpleNamespace(cases=lambda device: iter(cases)))

    return install


def test_times_ours_beside_the_peers_that_are_installed(bench):
    bench(make(flops=1e6))
    (row,) = runner.rows(["toy"], CPU)
    assert row.refused is None
    assert row.peers["gone"] is None
    assert 0.002 <= row.seconds["cpu"] < row.peers["slow"]
    assert [target.ratio for target, _ in row.targets] == [2, 1000]
    assert all(reached == row.peers["slow"] / row.seconds["cpu"] for _, reached in row.targets)
    text = "\n".join(table.lines(row, (1e12, 1e12)))
    assert "2x slow: reached" in text
    assert "1e+03x slow: MISSED" in text
    assert "gone" in text
    assert "not installed" in text
    assert "GFLOP/s (0%)" in text


@pytest.mark.parametrize("error", [1e-3, float("inf"), float("nan")])
def test_nothing_wrong_is_timed(bench, error):
    bench(make(error))
    (row,) = runner.rows(["toy"], CPU)
    assert not row.seconds
    assert not row.peers
    assert "off by" in table.lines(row, None)[1]


def test_a_check_that_raises_and_tests_that_fail_are_said(bench):
    def check():
        raise RuntimeError("shapes")

    case = make()
    bench(case)
    (row,) = runner.rows(["toy"], CPU, broken=["toy"])
    assert row.refused == "its tests fail"
    bench(Case(op="toy", name="forward", forms={}, check=check, bound=1.0))
    (row,) = runner.rows(["toy"], CPU)
    assert row.refused == "its check failed: RuntimeError: shapes"


def test_main_writes_rows_and_fails_where_one_was_refused(bench, tmp_path, capsys):
    bench(make(), make(1.0))
    file = tmp_path / "rows.json"
    assert __main__.main(["--device", "cpu", "--json", str(file)]) == 1
    result = json.loads(file.read_text())
    assert result["command"].startswith("python -m omniform_kernels.bench --device cpu")
    first, second = result["rows"]
    assert first["targets"][0] == {"form": "cpu", "peer": "slow", "ratio": 2, "reached": first["targets"][0]["reached"]}
    assert second["refused"].startswith("it is off by")
    assert "not timed" in capsys.readouterr().out


def test_an_ops_own_tests_can_be_asked_for(bench, tmp_path, capsys):
    bench(make())
    (tmp_path / "test_toy.py").write_text("def test_fails(): assert False")
    assert __main__.main(["--device", "cpu", "--tests", str(tmp_path)]) == 1
    assert "its tests fail" in capsys.readouterr().out
    (tmp_path / "test_toy.py").write_text("def test_passes(): pass")
    assert __main__.main(["--device", "cpu", "--tests", str(tmp_path)]) == 0


def test_runs_take_turns_and_quick_ones_are_repeated():
    order = []
    runs = {"a": partial(order.append, "a"), "b": lambda: order.append("b") or time.sleep(0.03)}
    found = medians(runs, 2, CPU)
    assert found["a"] < found["b"]
    assert order.count("a") > 20  # some thousand, were the machine not to pause
    assert order.count("b") == 4  # warmed up, measured for how often, and two rounds
    assert "".join(order).rstrip("b").count("ba") >= 2


def test_a_slow_run_is_taken_once_where_once_is_enough(monkeypatch):
    monkeypatch.setattr("omniform_kernels.bench.timing._SLOW", 0.01)
    calls = []
    medians({"slow": lambda: calls.append(1) or time.sleep(0.02)}, 1, CPU)
    assert len(calls) == 1


def test_relative_error():
    assert relative_error(torch.tensor([1.0, 1.1]), torch.tensor([1.0, 1.0])) == pytest.approx(0.1 / 2**0.5, rel=1e-3)
    assert relative_error(torch.tensor([torch.nan]), torch.tensor([1.0])) == float("inf")
    assert relative_error(torch.tensor([1e-9]), torch.tensor([0.0])) > 1


def test_durations():
    assert [table.duration(seconds) for seconds in (2.5, 0.0123, 4.2e-6)] == ["2.5 s", "12.3 ms", "4.2 us"]


def test_every_op_has_cases():
    assert "norm" in runner.ops()
