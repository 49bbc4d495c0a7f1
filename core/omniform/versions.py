"""The versions that a result depends on, for run folders, reports and benchmark files."""

from __future__ import annotations

import platform
from importlib.metadata import version

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Return the versions of Python, the platform and what computes, without importing any of it."""
    names = ("omniform", "torch", "lightning", "numpy")
    return {"python": platform.python_version(), "platform": platform.platform()} | {n: version(n) for n in names}
