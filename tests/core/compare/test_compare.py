"""A whole comparison on a toy task: rows, failures, budgets, files."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import active_count, current_thread, main_thread
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from omniform.compare import CompareResult, Progress, compare
from omniform.errors import ConfigError, DataError, IncompatibleError, SizeError
from omniform.task import Budget
from omniform.training.config import Training

FAST = Training(learning_rate=3e-2, batch_size=16, validate_every=0.25, precision="32", device="cpu")


def run(toy: Any, out: Path, **changes: Any) -> CompareResult:
    options: dict[str, Any] = {
        "domain": "toy",
        "mixers": ["linear", "gated"],
        "budget": Budget(steps=12),
        "training": FAST,
        "params": 2000,
        "depth": 1,
        "seeds": 2,
        "out": out,
        "command": "omniform toy compare sample",
        "progress": False,
    }
    config = changes.pop("config", toy.config())
    return compare(toy, changes.pop("source", "sample"), config, **(options | changes))


def test_shape_of_the_json_is_frozen(toy: Any, tmp_path: Path) -> None:
    value = run(toy, tmp_path / "out").as_json()
    assert set(value) == {
        "domain", "task", "data", "command", "versions", "primary", "lower_is_better", "rows", "verdict", "intervals",
        "report", "protocol", "notes",
    }  # fmt: skip
    assert all(
        set(row) == {
            "name", "role", "params", "steps", "seconds", "cpu_seconds", "seeds", "horizon", "metrics", "size",
            "learning_rate", "precision", "latency_ms", "memory_mb", "against_floor", "against_best", "tied", "error",
        }
        for row in value["rows"]
    )  # fmt: skip
    assert {row["name"]: row["role"] for row in value["rows"]} == {
        "least-squares": "floor", "linear": "contender", "gated": "contender",
    }  # fmt: skip
    assert all(set(row["metrics"]["MSE"]) == {"mean", "sd"} for row in value["rows"])
    assert value["report"] == str(tmp_path / "out" / "report.html")
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == json.loads(json.dumps(value, allow_nan=False))


def test_steps_are_matched_and_sizes_solved(toy: Any, tmp_path: Path) -> None:
    result = run(toy, tmp_path / "out", budget=Budget(steps=7), seeds=3)
    contenders = [row for row in result.rows if row.role == "contender"]
    assert [row.steps for row in contenders] == [7, 7]
    assert [row.seeds for row in contenders] == [3, 3]
    assert all(row.params and abs(row.params - 2000) <= 60 for row in contenders)
    assert all(row.latency_ms and row.latency_ms > 0 and row.memory_mb and row.memory_mb > 0 for row in contenders)
    assert contenders[0].metrics["MSE"]["sd"] is not None
    assert result.rows[0].name == "least-squares"  # 7 steps do not reach the optimum of a linear task
    assert result.verdict.startswith("No contender beats the least-squares floor")


def test_equal_contenders_tie(toy: Any, tmp_path: Path) -> None:
    """`linear` and `gated` are one network here, so that with the same seeds they must come out the same."""
    rows = {row.name: row for row in run(toy, tmp_path / "out").rows}
    assert rows["linear"].metrics == rows["gated"].metrics
    assert rows["linear"].tied
    assert rows["gated"].tied


def test_crash_and_refusal_are_rows_and_the_others_go_on(toy: Any, tmp_path: Path) -> None:
    toy.broken_floor = True
    result = run(toy, tmp_path / "out", mixers=["crash", "refused", "linear"])
    rows = {row.name: row for row in result.rows}
    assert rows["linear"].error is None
    assert rows["crash"].error == "training, seed 0: RuntimeError: boom <script>alert(1)</script>"
    assert rows["refused"].error == "building: refused needs a fixed grid; choose another mixer"
    assert rows["broken"].error == "fitting: ZeroDivisionError: no such floor"
    assert rows["crash"].metrics == {}
    assert [row.error is None for row in result.rows] == [True, True, False, False, False]
    log = (tmp_path / "out" / "logs" / "crash.log").read_text()
    assert "Traceback" in log
    assert "second line" in log
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<script>" not in html
    assert "boom &lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "crash failed: training, seed 0" in result.summary()


def test_every_contender_searches_the_same_rates(toy: Any, tmp_path: Path) -> None:
    seen: list[Progress] = []
    training = replace(FAST, learning_rate=None)
    result = run(toy, tmp_path / "out", training=training, mixers=["linear", "crash"], on_progress=seen.append)
    rows = {row.name: row for row in result.rows}
    search = result.protocol.search["linear"]
    assert list(search) == ["0.0005", "0.002", "0.008"]
    chosen = rows["linear"].learning_rate
    assert f"{chosen:g}" == min(search, key=lambda rate: search[rate] or np.inf)
    assert result.protocol.search_budget == "4 steps"
    assert set(result.protocol.search["crash"].values()) == {None}
    assert rows["crash"].error is not None
    assert rows["crash"].error.startswith("learning-rate search: RuntimeError")
    assert result.notes == ["At the highest learning rate tried, 0.008: linear; the best may lie beyond it."]
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_time_is_shared_fairly(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`slow` takes four times as long a step: it gets the same time and a quarter of the steps."""
    monkeypatch.setattr("omniform.compare.trials.SLICE_SECONDS", 0.1)
    seen: list[str] = []
    result = run(
        toy,
        tmp_path / "out",
        mixers=["linear", "slow"],
        budget=Budget(seconds=1.0),
        training=replace(FAST, validate_every=0.5),
        seeds=1,
        config=toy.config(delay=0.005),
        on_progress=lambda progress: seen.append(progress.label),
    )
    rows = {row.name: row for row in result.rows}
    fast, slow = rows["linear"], rows["slow"]
    assert fast.error is None
    assert slow.error is None
    assert fast.seconds == pytest.approx(1.0, abs=0.4)
    assert slow.seconds == pytest.approx(1.0, abs=0.4)
    assert fast.steps is not None
    assert slow.steps is not None
    assert 2.0 < fast.steps / slow.steps < 6.0
    switches = sum(a != b for a, b in pairwise(seen))
    assert switches >= 8, "a second of each in slices of 0.1 s changes hands many times"


def test_crash_in_turns_leaves_the_others_their_time(toy: Any, tmp_path: Path) -> None:
    result = run(toy, tmp_path / "out", mixers=["crash", "linear"], budget=Budget(seconds=0.3), seeds=2)
    rows = {row.name: row for row in result.rows}
    assert rows["crash"].error is not None
    assert rows["linear"].error is None
    assert rows["linear"].seeds == 2


@pytest.mark.parametrize("budget", [Budget(steps=50), Budget(seconds=5.0)])
def test_an_interrupt_ends_everything(toy: Any, tmp_path: Path, budget: Budget) -> None:
    def interrupt(progress: Progress) -> None:
        assert current_thread() is main_thread()
        raise KeyboardInterrupt

    threads = active_count()
    with pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path / "out", budget=budget, config=toy.config(delay=0.001), on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert active_count() == threads


def test_files(toy: Any, tmp_path: Path) -> None:
    result = run(toy, tmp_path / "new" / "out")
    out = tmp_path / "new" / "out"
    assert [path.name for path in out.parent.iterdir()] == ["out"], "the hidden folder is gone"
    assert {path.name for path in out.iterdir()} == {"compare.json", "figures", "report.html", "statistics"}
    assert {path.name for path in (out / "figures").iterdir()} == {
        "leaderboard.png", "trade-off.png", "curves.png", "predictions.png",
    }  # fmt: skip
    with safe_open(out / "statistics" / "linear.safetensors", "np") as file:
        assert file.metadata() == {"MSE": "identity"}
        total, weight = file.get_tensor("MSE/total"), file.get_tensor("MSE/weight")
    assert total.shape == weight.shape == (2, 100)
    row = next(row for row in result.rows if row.name == "linear")
    assert (total.sum(1) / weight.sum(1)).mean() == pytest.approx(row.metrics["MSE"]["mean"])
    with safe_open(out / "statistics" / "units.safetensors", "np") as file:
        assert file.metadata() == {"kind": "time", "block": "4"}


def test_a_folder_that_holds_something_is_refused_before_work(toy: Any, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="new or empty folder"):
        run(toy, tmp_path, source="nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_nothing_is_left_behind_by_a_mistake(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(toy, tmp_path / "out", source="nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"mixers": ["linear", "lineer"]}, ConfigError),
        ({"mixers": []}, ConfigError),
        ({"seeds": 0}, ConfigError),
        ({"budget": Budget(seconds=1.0), "training": replace(FAST, devices=2)}, ConfigError),
        ({"params": 20}, SizeError),
        ({"mixers": ["refused"]}, IncompatibleError),
    ],
)
def test_refused_before_training(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], error: type[Exception]
) -> None:
    monkeypatch.setattr("omniform.estimator.fit", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(error) as caught:
        run(toy, tmp_path / "out", **changes)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_fails_is_a_note(toy: Any, tmp_path: Path) -> None:
    toy.broken_figures = True
    result = run(toy, tmp_path / "out")
    assert result.notes == ["Figures of the task itself are missing: drawing: ValueError: no ink (logs/figures.log)"]
    assert "no ink" in (tmp_path / "out" / "report.html").read_text()
