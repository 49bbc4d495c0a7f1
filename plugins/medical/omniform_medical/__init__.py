"""Medical images: segment volumes, from prompts too, and classify planes, each beside simple floors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omniform_medical.api import Segmenter
    from omniform_medical.classification.api import ImageClassifier
    from omniform_medical.prompting.api import Prompter

__all__ = ["ImageClassifier", "Prompter", "Segmenter"]

_PLACES = {
    "ImageClassifier": "omniform_medical.classification.api",
    "Prompter": "omniform_medical.prompting.api",
    "Segmenter": "omniform_medical.api",
}


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for: the command line lists the domain without torch."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
