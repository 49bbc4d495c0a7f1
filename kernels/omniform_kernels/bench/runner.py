"""Checks a case, then times it: what it found is a row, and a failed check leaves no seconds in it."""

import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import omniform_kernels
from omniform_kernels.bench.case import Case, Target
from omniform_kernels.bench.timing import medians

__all__ = ["Row", "as_json", "ops", "rows", "test"]

_PACKAGES = ("torch", "triton", "transformers", "fla-core", "mambapy", "onnxruntime", "torchao")
# Dense bf16 operations a second and bytes a second, from the makers' data sheets.
_CHIPS = {"H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12), "A100": (312e12, 2.04e12)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was found of one case.

    Attributes:
        op, name: the case.
        error, bound: relative error against the definition, and what it may be.
        refused: why nothing was timed; None if it was.
        seconds: median seconds of each of our forms.
        peers: median seconds of each peer; None for one that is not installed.
        targets: for each wish that could be measured, what was reached.
        flops, bytes: work of one run.
    """

    op: str
    name: str
    error: float | None
    bound: float
    refused: str | None
    seconds: dict[str, float]
    peers: dict[str, float | None]
    targets: tuple[tuple[Target, float], ...]
    flops: float | None
    bytes: float | None


def ops() -> list[str]:
    """Return the ops that have cases."""
    return sorted(path.parent.name for path in Path(omniform_kernels.__file__).parent.glob("*/bench.py"))


def rows(names: Sequence[str], device: torch.device, broken: Sequence[str] = ()) -> Iterator[Row]:
    """Check and time every case of the ops; those in `broken` failed their tests and are not timed."""
    for name in names:
        for case in import_module(f"omniform_kernels.{name}.bench").cases(device):
            yield _refuse(case, None, "its tests fail") if name in broken else _measure(case, device)


def test(name: str, folder: Path) -> bool:
    """Run an op's tests, `folder/test_NAME.py`, in a process of their own; return whether they pass."""
    file = folder / f"test_{name}.py"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout if done.returncode else done.stdout.splitlines()[-1], file=sys.stderr)
    return done.returncode == 0


def as_json(found: Sequence[Row], device: torch.device, command: str) -> dict[str, Any]:
    """Return `{"command", "versions", "device", "threads", "limits", "rows": [...]}`."""
    return {
        "command": command,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "device": _describe(device),
        "threads": torch.get_num_threads(),
        "limits": dict(zip(("flops_per_second", "bytes_per_second"), limits(device) or (None, None), strict=True)),
        "rows": [_row_as_json(row) for row in found],
    }


def limits(device: torch.device) -> tuple[float, float] | None:
    """Return the operations and bytes a second that the chip has on paper, where it is a known one."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((chip for key, chip in _CHIPS.items() if key in name), None)


def _measure(case: Case, device: torch.device) -> Row:
    try:
        error = case.check()
    except Exception as failure:
        return _refuse(case, None, f"its check failed: {type(failure).__name__}: {failure}")
    if not error <= case.bound:
        return _refuse(case, error, f"it is off by {error:.1e}, where {case.bound:.0e} is allowed")
    peers, absent = {}, []
    for name, build in case.peers.items():
        try:
            peers[name] = build()
        except ImportError:
            absent.append(name)
    seconds = medians({**case.forms, **{f"peer {name}": run for name, run in peers.items()}}, case.repeats, device)
    theirs = {name: seconds[f"peer {name}"] for name in peers}
    reached = tuple(
        (target, theirs[target.peer] / seconds[target.form])
        for target in case.targets
        if target.peer in theirs and target.form in seconds
    )
    return Row(
        op=case.op,
        name=case.name,
        error=error,
        bound=case.bound,
        refused=None,
        seconds={name: seconds[name] for name in case.forms},
        peers={**theirs, **dict.fromkeys(absent)},
        targets=reached,
        flops=case.flops,
        bytes=case.bytes,
    )


def _refuse(case: Case, error: float | None, reason: str) -> Row:
    return Row(
        op=case.op,
        name=case.name,
        error=error,
        bound=case.bound,
        refused=reason,
        seconds={},
        peers={},
        targets=(),
        flops=case.flops,
        bytes=case.bytes,
    )


def _row_as_json(row: Row) -> dict[str, Any]:
    targets = [asdict(target) | {"reached": reached} for target, reached in row.targets]
    return asdict(row) | {"targets": targets}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}"
