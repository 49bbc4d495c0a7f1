"""Seconds of several runs beside each other: interleaved, so that what else the machine does falls on all alike."""

import time
from collections.abc import Mapping
from math import ceil
from statistics import median

import torch

from omniform_kernels.bench.case import Run

__all__ = ["medians"]

_SHORTEST = 0.02  # seconds; a quicker run is repeated until so much has passed
_SLOW = 3.0  # seconds; a run that takes longer is not warmed up


def medians(runs: Mapping[str, Run], repeats: int, device: torch.device) -> dict[str, float]:
    """Return the median seconds of each run over `repeats` rounds, in each of which every run has its turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    inner = {}
    for name, run in runs.items():
        first = _seconds(run, 1, device)  # builds, compiles, warms up
        if first > _SLOW and repeats == 1:
            seconds[name].append(first)
            continue
        inner[name] = ceil(_SHORTEST / max(_seconds(run, 1, device), 1e-6))
    for _ in range(repeats):
        for name, count in inner.items():
            seconds[name].append(_seconds(runs[name], count, device))
    return {name: median(values) for name, values in seconds.items()}


def _seconds(run: Run, count: int, device: torch.device) -> float:
    """Return the seconds of one of `count` runs in a row."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(count):
        run()
    _wait(device)
    return (time.perf_counter() - start) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
