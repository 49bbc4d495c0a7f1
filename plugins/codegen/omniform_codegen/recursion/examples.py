"""Pairs of a term and what a function makes of it, as tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from omniform_codegen.recursion.config import Mode
from omniform_codegen.recursion.functions import FUNCTIONS, Function
from omniform_codegen.recursion.terms import Term, Tokens

__all__ = ["THEN", "Example", "Examples", "example_of"]

THEN = ";"
"""Stands between two steps of a trace."""


@dataclass(frozen=True, slots=True)
class Example:
    """A term as tokens, what is to be said of it, and how deep the recursion goes."""

    input: Tokens
    output: Tokens
    depth: int


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of one function.

    Attributes:
        function: its name.
        parts: `"train"`, `"validation"` or `"test"` for each example, `""` where a split is still to be drawn.
    """

    function: str
    examples: tuple[Example, ...]
    parts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, places: Sequence[int]) -> Examples:
        """Return the examples at these places, which may repeat."""
        return Examples(self.function, tuple(self.examples[i] for i in places), tuple(self.parts[i] for i in places))

    def part(self, name: str) -> Examples:
        """Return the examples of one part."""
        return self.take([place for place, part in enumerate(self.parts) if part == name])

    def term(self, place: int) -> Term:
        """Return the term of one example."""
        return FUNCTIONS[self.function].datatype.parse(self.examples[place].input)

    def fingerprint(self) -> str:
        """Return a SHA-256 of function, examples and parts."""
        rows = [[part, e.input, e.output] for part, e in zip(self.parts, self.examples, strict=True)]
        return hashlib.sha256(json.dumps([self.function, rows]).encode()).hexdigest()


def example_of(function: Function, term: Term, mode: Mode) -> Example:
    """Return the example of a term: its value, or the whole trace with `THEN` between the steps."""
    if mode == "whole":
        output = function.evaluate(term)
    else:
        first, *others = function.trace(term)
        output = (*first, *(token for step in others for token in (THEN, *step)))
    return Example(term.tokens, output, function.depth(term))
