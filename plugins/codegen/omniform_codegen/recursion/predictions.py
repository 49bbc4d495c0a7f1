"""What a learner says of terms."""

from __future__ import annotations

from dataclasses import dataclass

from omniform_codegen.recursion.examples import Examples
from omniform_codegen.recursion.terms import Tokens

__all__ = ["Predictions"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """The output said of each example."""

    outputs: tuple[Tokens, ...]
    items: Examples
