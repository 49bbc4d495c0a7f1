"""Compare mixers on ETTh1 at horizon 96, and train one longer; write what was measured beside this file.

    OMNIFORM_DATA=... python benchmarks/etth1.py mixers     # eight mixers, 200k parameters, 300 steps, three seeds
    OMNIFORM_DATA=... python benchmarks/etth1.py longer     # the best quick one of them, 600 steps, three seeds

About 45 and 10 minutes on one core (OMP_NUM_THREADS=1). The protocol is the literature's: z-scores by training
statistics, lookback 336, every test window at stride 1. Learning rates are chosen on validation.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from omniform.compare import compare
from omniform.errors import ConfigError
from omniform.task import Budget
from omniform.training.config import Training
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.task import Forecast

RESULTS = Path(__file__).parent / "results"
MIXERS = ("attention", "gla", "mamba", "retention", "linear-attention", "hyena-nd", "convmixer", "mlp-mixer")
QUICK = 0.2  # seconds a step
CONFIG = ForecastConfig(protocol="ltsf", split="8640,2880,2880", lookback=336, horizon=96)


def main(which: str) -> None:
    data = os.environ.get("OMNIFORM_DATA")
    if data is None:
        raise ConfigError("set OMNIFORM_DATA to the folder that holds timeseries/ett/ETTh1.csv.gz")
    mixers, steps = (MIXERS, 300) if which == "mixers" else ((_best(),), 600)
    source = Path(data) / "timeseries" / "ett" / "ETTh1.csv.gz"
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / which
        result = compare(
            Forecast(),
            source,
            CONFIG,
            domain="timeseries",
            mixers=mixers,
            budget=Budget(steps=steps),
            training=Training(validate_every=75 / steps),
            params=200_000,
            depth=2,
            seeds=3,
            out=out,
            command=shlex.join(["python", "benchmarks/etth1.py", which]),
        )
        measured = result.as_json() | {"data": "ETTh1", "report": None, "seconds": time.perf_counter() - started}
        shutil.copy(out / "figures" / "leaderboard.png", RESULTS / f"etth1_{which}_leaderboard.png")
    (RESULTS / f"etth1_{which}.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print(result.summary())


def _best() -> str:
    """Return the mixer that did best on validation, never on test, of those quick enough to train for longer here."""
    before = json.loads((RESULTS / "etth1_mixers.json").read_text(encoding="utf-8"))
    search = before["protocol"]["search"]
    quick = [row["name"] for row in before["rows"] if row["steps"] and row["seconds"] / row["steps"] < QUICK]
    return min(quick, key=lambda name: min(score for score in search[name].values() if score is not None))


if __name__ == "__main__":
    main(sys.argv[1])
