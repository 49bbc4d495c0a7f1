"""What the machine has, what is missing, and what to do about it: a fixed table of checks."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from omniform.plugins import host

__all__ = ["CHECKS", "Check", "Finding", "as_json", "examine"]

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw.

    Attributes:
        status: `"ok"`; `"absent"`: optional and not there; `"fault"`: something will break.
        detail: what was seen.
        remedy: what to do, where there is something to do.
    """

    status: Literal["ok", "absent", "fault"]
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    look: Callable[[], Finding]


def examine(checks: Sequence[Check] | None = None) -> dict[str, Finding]:
    """Run the checks; one that raises is a finding of its own."""
    return {check.name: _guarded(check) for check in (CHECKS if checks is None else checks)}


def as_json(findings: dict[str, Finding]) -> dict[str, Any]:
    """Return `{"healthy": bool, "checks": [{"name", "status", "detail", "remedy"}]}`."""
    return {
        "healthy": all(finding.status != "fault" for finding in findings.values()),
        "checks": [{"name": name, **asdict(finding)} for name, finding in findings.items()],
    }


def _guarded(check: Check) -> Finding:
    try:
        return check.look()
    except Exception as error:
        return Finding("fault", f"{type(error).__name__}: {error}", "reinstall omniform in a fresh environment")


def _python() -> Finding:
    detail = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("ok", detail)
    return Finding("fault", detail, "use Python 3.11, 3.12 or 3.13")


def _torch() -> Finding:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU"
    return Finding("ok", f"{torch.__version__}, built for {build}")


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        names = (f"{gpu.name}, {gpu.total_memory / _GIB:.0f} GiB, sm_{gpu.major}{gpu.minor}" for gpu in found)
        return Finding("ok", "; ".join(names))
    if torch.backends.mps.is_available():
        return Finding("ok", "Apple MPS")
    if torch.version.cuda and shutil.which("nvidia-smi"):
        remedy = "check that `nvidia-smi` runs, and that its driver is new enough for this build of torch"
        return Finding("fault", f"a driver is there, but torch sees no GPU (CUDA {torch.version.cuda})", remedy)
    return Finding("absent", "none; everything runs on the CPU")


def _triton() -> Finding:
    if find_spec("triton") is None:
        return Finding("absent", "not installed; GPUs then use the plain torch paths", "pip install triton")
    return Finding("ok", version("triton"))


def _processor() -> Finding:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    level = torch.backends.cpu.get_cpu_capability()
    return Finding("ok", f"{usable} of {os.cpu_count()} cores usable, {torch.get_num_threads()} threads, {level}")


def _memory() -> Finding:
    """Report the machine's memory, and the container's limit where that is less."""
    if not hasattr(os, "sysconf"):
        return Finding("absent", "this system does not tell")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    usable = min(total, int(text)) if text.isdigit() else total
    return Finding("ok", f"{usable / _GIB:.1f} GiB" + (f" of {total / _GIB:.1f}" if usable < total else ""))


def _torchvision() -> Finding:
    """Find a torchvision that was built for another torch: its mere presence then breaks lightning's imports."""
    if find_spec("torchvision") is None:
        return Finding("ok", "absent, as it should be")
    import torch

    if torch.version.cuda:
        return Finding("ok", f"{version('torchvision')} beside a CUDA build of torch")
    return Finding("fault", "installed beside a CPU build of torch, it breaks imports", "pip uninstall torchvision")


def _plugins() -> Finding:
    if failed := [plugin.name for plugin in host().failed]:
        return Finding("fault", f"{', '.join(failed)} failed to load", "`omniform plugins` shows why")
    return Finding("ok", f"{len(host().loaded)} loaded")


def _extras() -> Finding:
    if missing := host().missing:
        lacks = "; ".join(f"{lack.domain.name} lacks {', '.join(lack.modules)}" for lack in missing)
        return Finding("absent", lacks, "; ".join(lack.remedy for lack in missing))
    return Finding("ok", "every installed domain has what it needs")


def _app() -> Finding:
    if find_spec("streamlit") is None:
        return Finding("absent", "streamlit, which `omniform app` needs", 'pip install "omniform[app]"')
    return Finding("ok", f"streamlit {version('streamlit')}")


def _compiler() -> Finding:
    from omniform_kernels.compiler import compiler

    if os.environ.get("OMNIFORM_NATIVE") == "0":
        return Finding("absent", "switched off by OMNIFORM_NATIVE=0; plain torch runs instead of compiled C++")
    found = compiler()
    if found is None:
        return Finding("absent", "no C++ compiler; plain torch runs instead, several times slower", "apt install g++")
    return Finding("ok", f"{found}, for the CPU forms of the kernels")


CHECKS = (
    Check("python", _python),
    Check("torch", _torch),
    Check("gpu", _gpu),
    Check("triton", _triton),
    Check("processor", _processor),
    Check("memory", _memory),
    Check("torchvision", _torchvision),
    Check("plugins", _plugins),
    Check("extras", _extras),
    Check("app", _app),
    Check("compiler", _compiler),
)
