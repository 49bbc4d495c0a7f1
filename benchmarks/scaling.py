"""How time and memory of forward+backward grow with the number of tokens, for every mixer that claims to be linear.

    python benchmarks/scaling.py                    # all
    python benchmarks/scaling.py gla linear-layer   # these rows again; the others stay

Width 64, batch 1, float32, one thread, causal where there is a choice; each length in a process of its own, so that
the peak of resident memory is that length's. Each is timed twice: as it is, and with an allocator that keeps the pages
it was given (`KEEP`), because glibc returns every tensor of 32 MiB or more to the system, and to be handed its pages
again then takes up to a third of the time. Beside them stands a linear layer with SiLU: what it grows by more than L
is the memory's doing, as 4,096 tokens fit in the processor's caches and 65,536 do not. About six minutes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniform.layout import Layout
from omniform.plugins import find_mixer, host
from omniform.versions import versions

RESULT = Path(__file__).parent / "results" / "scaling.json"
LENGTHS = (4096, 8192, 16384, 32768, 65536)
DIM = 64
YARDSTICK = "linear-layer"
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_TOP_PAD_": str(2**26)}  # read by glibc


def main(chosen: list[str]) -> None:
    systems = host().systems
    linear = [row.id for row in systems if row.mixer and row.cost in ("linear", "loglinear") and 1 in row.ranks]
    rows = {row["mixer"]: row for row in json.loads(RESULT.read_text(encoding="utf-8"))["rows"]} if chosen else {}
    for name in chosen or [YARDSTICK, *linear]:
        rows[name] = _row(name)
        print(f"{name:<20}", *(f"{what} L^{exponent:.2f}" for what, exponent in rows[name]["exponents"].items()))
    command = "python benchmarks/scaling.py"
    result = {"command": command, "versions": versions(), "lengths": LENGTHS, "keep": KEEP, "rows": list(rows.values())}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _row(name: str) -> dict[str, Any]:
    measured = [_apart(name, length) for length in LENGTHS]
    for one in measured:
        one["seconds_kept"] = _apart(name, one["length"], **KEEP)["seconds"]
    exponents = {what: _exponent([one[what] for one in measured]) for what in ("seconds_kept", "seconds", "bytes")}
    return {"mixer": name, "measured": measured, "exponents": exponents}


def _apart(name: str, length: int, **environment: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", name, str(length)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout)


def _measure(name: str, length: int) -> dict[str, Any]:
    """Return seconds (the least of three) and the peak of memory above that of a run on 256 tokens."""
    torch.manual_seed(0)

    def run(tokens: int) -> float:
        mix = _make(name, tokens)
        x = torch.randn(1, tokens, DIM, requires_grad=True)
        start = time.perf_counter()
        mix(x).sum().backward()
        return time.perf_counter() - start

    run(256)
    before = _peak()
    seconds = min(run(length) for _ in range(3))
    return {"length": length, "seconds": seconds, "bytes": _peak() - before}


def _make(name: str, tokens: int) -> Callable[[Tensor], Tensor]:
    if name == YARDSTICK:
        return nn.Sequential(nn.Linear(DIM, DIM), nn.SiLU())
    cls = find_mixer(name)
    mixer = cls.make(DIM, grid=(tokens,), axes=("ordered",), causal=cls.traits.causal != "never")
    return lambda x: mixer(x, Layout.of(x))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _exponent(values: list[float]) -> float:
    """Return the slope of the straight line through the logarithms."""
    x, y = [log(length) for length in LENGTHS], [log(value) for value in values]
    centre, level = sum(x) / len(x), sum(y) / len(y)
    return sum((a - centre) * (b - level) for a, b in zip(x, y, strict=True)) / sum((a - centre) ** 2 for a in x)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(_measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main(sys.argv[1:])
