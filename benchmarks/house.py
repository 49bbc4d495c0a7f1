"""Measure what the house itself costs: `--help`, the demo, a comparison beyond its training, and the tests.

    python benchmarks/house.py

About six minutes on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from omniform.compare import compare
from omniform.task import Budget
from omniform.training.config import Training
from omniform.versions import versions
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.task import Forecast

RESULT = Path(__file__).parent / "results" / "house.json"
MIXERS = ("attention", "gla")
STEPS = 200


def main() -> None:
    measured = {
        "command": "python benchmarks/house.py",
        "versions": versions(),
        "cores": os.cpu_count(),
        "help_seconds": median(_seconds("--help") for _ in range(9)),
        "demo_seconds": _demo(),
        "compare": _overhead(),
        "tests": _tests(),
    }
    RESULT.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=2))


def _seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "omniform", *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def _demo() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return _seconds("demo", "--out", f"{folder}/demo")


def _overhead() -> dict[str, float]:
    """Compare with one seed and a given learning rate, so that the rows' own seconds are all of the training."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = compare(
            Forecast(),
            "sample",
            ForecastConfig(),
            domain="timeseries",
            mixers=MIXERS,
            budget=Budget(steps=STEPS),
            training=Training(learning_rate=2e-3),
            params=100_000,
            depth=2,
            seeds=1,
            out=Path(folder) / "out",
            command="python benchmarks/house.py",
            progress=False,
        )
        total = time.perf_counter() - started
    training = sum(row.seconds or 0.0 for row in result.rows if row.role == "contender")
    return {
        "contenders": len(MIXERS),
        "steps": STEPS,
        "total_seconds": total,
        "training_seconds": training,
        "overhead_seconds": total - training,
    }


def _tests() -> dict[str, str]:
    """Run what `make test` runs, and keep pytest's closing line."""
    run = subprocess.run(["make", "test"], cwd=Path(__file__).parent.parent, check=True, capture_output=True, text=True)
    return {"summary": run.stdout.strip().splitlines()[-1].strip("= ")}


if __name__ == "__main__":
    main()
