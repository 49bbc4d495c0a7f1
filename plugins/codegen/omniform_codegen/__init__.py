"""Source code: complete it, personalise models to a repository, find vulnerabilities as one types."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omniform_codegen.api import Coder
    from omniform_codegen.scanning.api import Scanner

__all__ = ["Coder", "Scanner"]

_PLACES = {"Coder": "omniform_codegen.api", "Scanner": "omniform_codegen.scanning.api"}


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for: the command line lists the domain without torch."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
