"""The folder that a comparison leaves behind: whole, or not there at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from omniform.errors import ConfigError
from omniform.task import Scores

__all__ = ["claimed", "file_stem", "save_json", "save_statistics", "save_units"]


@contextmanager
def claimed(out: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `out`; it becomes `out` at the end, and vanishes if anything is raised.

    Raises:
        ConfigError: `out` is a file or a folder that holds something, before any work starts.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"expected a new or empty folder to write to, but {out} exists; remove it or choose another")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"cannot write beside {out}: {error.strerror}; choose another folder") from error
    try:
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_stem(name: str) -> str:
    """Return a name that is safe as a file's."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)


def save_json(value: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def save_statistics(runs: Sequence[Scores], path: Path) -> None:
    """Save every run's sums per unit, `METRIC/total` and `METRIC/weight` of shape (S, U), links in the metadata."""
    names = list(runs[0].statistics)
    arrays = {
        f"{name}/{part}": np.stack([np.asarray(getattr(run.statistics[name], part), np.float64) for run in runs])
        for name in names
        for part in ("total", "weight")
    }
    save_file(arrays, path, metadata={name: runs[0].statistics[name].link for name in names})


def save_units(scores: Scores, path: Path) -> None:
    """Save how the units depend on each other: the labels `groups` (U,), empty where every unit is its own."""
    units = scores.units
    groups = np.zeros(0, np.int64) if units.groups is None else np.unique(units.groups, return_inverse=True)[1]
    save_file({"groups": groups.astype(np.int64)}, path, metadata={"kind": units.kind, "block": str(units.block)})
