"""Compare mixers on ETTh1 with plain torch and with compiled C++ under them: scores must agree, seconds need not.

    OMNIFORM_DATA=... python benchmarks/forms.py                       # both forms, each in a process of its own
    OMNIFORM_DATA=... python benchmarks/forms.py --before OLD.json     # beside what another version of the code gave
    OMNIFORM_DATA=... python benchmarks/forms.py --alone OLD.json      # one form alone, as the environment has it

One seed, 200k parameters, 100 steps at one learning rate, one thread; about three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from omniform.compare import compare
from omniform.errors import ConfigError
from omniform.task import Budget
from omniform.training.config import Training
from omniform.versions import versions
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.task import Forecast

RESULT = Path(__file__).parent / "results" / "forms.json"
MIXERS = ("attention", "linear-attention", "retention", "gla", "mamba", "hyena-nd", "dinat")
STEPS = 100
CONFIG = ForecastConfig(protocol="ltsf", split="8640,2880,2880", lookback=336, horizon=96)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--alone", type=Path, help="measure one form alone into this file")
    parser.add_argument("--before", type=Path, help="such a file of another version, to stand beside")
    options = parser.parse_args()
    if options.alone:
        options.alone.write_text(json.dumps(_measure()), encoding="utf-8")
        return
    found = {} if options.before is None else {"before": json.loads(options.before.read_text(encoding="utf-8"))}
    found |= {"plain": _apart(OMNIFORM_NATIVE="0"), "native": _apart(OMNIFORM_NATIVE="1")}
    result = {
        "command": "python benchmarks/forms.py",
        "versions": versions(),
        "steps": STEPS,
        "seed": 0,
        "forms": found,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for mixer in MIXERS:
        cells = (f"{form} mse {rows[mixer]['mse']:.6f} {rows[mixer]['seconds']:.1f} s" for form, rows in found.items())
        print(f"{mixer:<18}", "  ".join(cells))


def _apart(**environment: str) -> dict[str, Any]:
    """Measure in a process with these variables, on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--alone", str(file)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)
        return json.loads(file.read_text(encoding="utf-8"))


def _measure() -> dict[str, Any]:
    data = os.environ.get("OMNIFORM_DATA")
    if data is None:
        raise ConfigError("set OMNIFORM_DATA to the folder that holds timeseries/ett/ETTh1.csv.gz")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = compare(
            Forecast(),
            Path(data) / "timeseries" / "ett" / "ETTh1.csv.gz",
            CONFIG,
            domain="timeseries",
            mixers=MIXERS,
            budget=Budget(steps=STEPS),
            training=Training(learning_rate=2e-3),
            params=200_000,
            depth=2,
            seeds=1,
            out=Path(folder) / "out",
            command="python benchmarks/forms.py",
            progress=False,
        )
    contenders = (row for row in result.rows if row.role == "contender" and row.error is None)
    return {
        row.name: {name: value["mean"] for name, value in row.metrics.items()}
        | {"seconds": row.seconds, "steps": row.steps}
        for row in contenders
    }


if __name__ == "__main__":
    main()
