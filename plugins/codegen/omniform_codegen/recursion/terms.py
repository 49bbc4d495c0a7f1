"""Inductive datatypes: constructors, the terms that they build, and terms as tokens.

A term is written in prefix notation, `node a leaf leaf`: as every constructor has a fixed number of arguments, no
brackets are needed. Binary numbers are lists of digits, the least significant first: `X0 n` is 2 n, `X1 n` is 2 n + 1
and `01` is one, so that `X0 X1 01` is six (arXiv 2401.12947, and the standard library of Coq).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from omniform.errors import DataError

__all__ = ["BINARY", "LABELS", "MOST_TOKENS", "TREE", "Datatype", "Term", "Tokens"]

Tokens = tuple[str, ...]

LABELS = tuple("abcdefghij")
"""The labels of trees."""

MOST_TOKENS = 200
"""The longest term that is read; a deeper one would exceed Python's own stack."""


@dataclass(frozen=True, slots=True)
class Term:
    """A constructor and its arguments."""

    head: str
    arguments: tuple[Term, ...] = ()

    @property
    def tokens(self) -> Tokens:
        """The term in prefix notation."""
        return (self.head, *(token for argument in self.arguments for token in argument.tokens))

    def __str__(self) -> str:
        return " ".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Datatype:
    """Sorts of terms by their constructors.

    Attributes:
        sort: the sort of the terms that are meant; others are those of arguments.
        sorts: constructors of each sort, and the sorts of each constructor's arguments.
    """

    sort: str
    sorts: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def constructors(self) -> Tokens:
        """The names of all constructors, sort by sort."""
        return tuple(name for constructors in self.sorts.values() for name in constructors)

    def parse(self, tokens: Sequence[str]) -> Term:
        """Return the term that tokens are the prefix notation of.

        Raises:
            DataError: they are those of no term, or too many.
        """
        if len(tokens) > MOST_TOKENS:
            raise DataError(f"expected a term of at most {MOST_TOKENS} tokens, got one of {len(tokens)}")
        term, stop = self.read(tokens, 0)
        if stop < len(tokens):
            raise DataError(f"expected the {self.sort} to end before {tokens[stop]!r} in {_shown(tokens)}")
        return term

    def read(self, tokens: Sequence[str], start: int, sort: str | None = None) -> tuple[Term, int]:
        """Return the term that begins at `start`, and where it ends.

        Raises:
            DataError: none of this sort begins there.
        """
        constructors = self.sorts[sort or self.sort]
        if start >= len(tokens) or tokens[start] not in constructors:
            got = repr(tokens[start]) if start < len(tokens) else "the end"
            raise DataError(f"expected {' or '.join(constructors)}, got {got} as token {start} of {_shown(tokens)}")
        arguments = []
        stop = start + 1
        for wanted in constructors[tokens[start]]:
            argument, stop = self.read(tokens, stop, wanted)
            arguments.append(argument)
        return Term(tokens[start], tuple(arguments)), stop

    def draw(self, sort: str, constructors: int, rng: np.random.Generator) -> Term:
        """Return a random term along one branch of so many constructors, closed by one without arguments."""
        names = self.sorts[sort]
        closing = [name for name, arguments in names.items() if not arguments]
        growing = [name for name, arguments in names.items() if arguments]
        if constructors == 0 or not growing:
            return Term(closing[rng.integers(len(closing))])
        head = growing[rng.integers(len(growing))]
        return Term(head, tuple(self.draw(argument, constructors - 1, rng) for argument in names[head]))


BINARY = Datatype("number", {"number": {"01": (), "X0": ("number",), "X1": ("number",)}})
"""Positive binary numbers."""

TREE = Datatype(
    "tree",
    {"tree": {"leaf": (), "node": ("label", "tree", "tree")}, "label": dict.fromkeys(LABELS, ())},
)
"""Binary trees with a label at every node."""


def _shown(tokens: Sequence[str]) -> str:
    return repr(" ".join(tokens[:12]) + (" ..." if len(tokens) > 12 else ""))
