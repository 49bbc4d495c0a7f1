"""Structurally recursive functions: defined by cases on constructors, calling themselves on arguments alone.

The right side of a case is a sequence of constructors, arguments as they are, and calls on arguments:

    successor (X0 n) = X1 n
    successor (X1 n) = X0 (successor n)

Concatenation is the only way in which results are put together, so that a partly reduced expression is a sequence of
tokens in which the function's name stands before each term that it still is to be applied to. There are two meanings:
the value (`evaluate`), and the step relation that replaces the first call by the right side of its case (`trace`).

Source: arXiv 2401.12947.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from omniform_codegen.recursion.terms import BINARY, TREE, Datatype, Term, Tokens

__all__ = ["FUNCTIONS", "Case", "Function", "Origin", "Use"]

_SINGLE = 0.2  # how often a recursion ends, where it may end otherwise, in a constructor that may be a single term


@dataclass(frozen=True, slots=True)
class Use:
    """An argument on the right side of a case: as it is, or under a recursive call."""

    argument: int
    call: bool


@dataclass(frozen=True, slots=True)
class Case:
    """What the function gives for terms of one constructor."""

    right: tuple[str | Use, ...]

    @property
    def called(self) -> tuple[int, ...]:
        """The arguments that the function calls itself on."""
        return tuple(part.argument for part in self.right if isinstance(part, Use) and part.call)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a token of a value was made from.

    Attributes:
        place: of the constructor whose case wrote it or, if it was handed on, of itself, in the tokens of the term.
        recursive: whether the case that wrote it or handed it on calls the function again.
    """

    place: int
    recursive: bool


@dataclass(frozen=True, slots=True)
class Function:
    """A structurally recursive function.

    Attributes:
        name: its token in expressions.
        datatype: what it takes.
        cases: by constructor.
    """

    name: str
    datatype: Datatype
    cases: Mapping[str, Case]

    @classmethod
    def define(cls, name: str, datatype: Datatype, *equations: str) -> Function:
        """Read equations such as `"X1 n = X0 successor n"`: constructor and variables, and what they give."""
        cases = {}
        for equation in equations:
            left, right = (side.split() for side in equation.split("="))
            places = {variable: place for place, variable in enumerate(left[1:])}
            parts: list[str | Use] = []
            for before, token in zip([None, *right], right, strict=False):
                if token in places:
                    parts.append(Use(places[token], call=before == name))
                elif token != name:
                    parts.append(token)
            cases[left[0]] = Case(tuple(parts))
        return cls(name, datatype, cases)

    def evaluate(self, term: Term) -> Tokens:
        """Return the value at a term."""
        return tuple(token for token, _ in self._derive(term, 0))

    def origins(self, term: Term) -> tuple[Origin, ...]:
        """Return what every token of the value was made from."""
        return tuple(origin for _, origin in self._derive(term, 0))

    def step(self, expression: Sequence[str]) -> Tokens | None:
        """Replace the first call by its case, `None` if there is no call left.

        Raises:
            DataError: no term stands behind the function's name.
        """
        if self.name not in expression:
            return None
        call = list(expression).index(self.name)
        term, stop = self.datatype.read(expression, call + 1)
        written: list[str] = []
        for part in self.cases[term.head].right:
            if isinstance(part, str):
                written.append(part)
            else:
                written += [self.name] * part.call
                written += term.arguments[part.argument].tokens
        return (*expression[:call], *written, *expression[stop:])

    def trace(self, term: Term) -> list[Tokens]:
        """Return every expression from the call on `term` (left out) to the value."""
        steps = []
        expression = self.step((self.name, *term.tokens))
        while expression is not None:
            steps.append(expression)
            expression = self.step(expression)
        return steps

    def depth(self, term: Term) -> int:
        """Return how deep calls nest below the first: the length of a carry, the height of a tree."""
        return max((1 + self.depth(term.arguments[place]) for place in self.cases[term.head].called), default=0)

    def varies(self, depth: int) -> bool:
        """Return whether there is more than one term of a depth: there is but one empty tree."""
        return depth > 0 or any(self._sorts(head) for head, case in self.cases.items() if not case.called)

    def draw(self, depth: int, tail: int, rng: np.random.Generator) -> Term:
        """Return a random term of exactly this depth.

        Args:
            tail: the most constructors of what no call ever reads; their number is uniform from half of it on, for of
                short ones there are too few to tell learning from memory.
        """
        heads = [head for head, case in self.cases.items() if bool(case.called) == bool(depth)]
        if len(heads) > 1 and rng.random() > _SINGLE:
            heads = [head for head in heads if self._sorts(head)]
        head = heads[rng.integers(len(heads))]
        called = self.cases[head].called
        deepest = called[rng.integers(len(called))] if called else -1
        arguments = []
        for place, sort in enumerate(self._sorts(head)):
            if place not in called:
                arguments.append(self.datatype.draw(sort, int(rng.integers(tail // 2, tail + 1)), rng))
            else:
                below = depth - 1 if place == deepest else int(rng.integers(depth))
                arguments.append(self.draw(below, tail, rng))
        return Term(head, tuple(arguments))

    def _sorts(self, head: str) -> tuple[str, ...]:
        """Return the sorts of a constructor's arguments."""
        return self.datatype.sorts[self.datatype.sort][head]

    def _derive(self, term: Term, place: int) -> Iterator[tuple[str, Origin]]:
        """Yield the value's tokens, each with what it was made from; the term begins at `place`."""
        case = self.cases[term.head]
        recursive = bool(case.called)
        starts = [place + 1]
        for argument in term.arguments:
            starts.append(starts[-1] + len(argument.tokens))
        for part in case.right:
            if isinstance(part, str):
                yield part, Origin(place, recursive)
            elif part.call:
                yield from self._derive(term.arguments[part.argument], starts[part.argument])
            else:
                for offset, token in enumerate(term.arguments[part.argument].tokens):
                    yield token, Origin(starts[part.argument] + offset, recursive)


_ALL = (
    Function.define("successor", BINARY, "01 = X0 01", "X0 n = X1 n", "X1 n = X0 successor n"),
    Function.define("preorder", TREE, "leaf =", "node x l r = x preorder l preorder r"),
    Function.define("inorder", TREE, "leaf =", "node x l r = inorder l x inorder r"),
    Function.define("postorder", TREE, "leaf =", "node x l r = postorder l postorder r x"),
)

FUNCTIONS: Mapping[str, Function] = {function.name: function for function in _ALL}
"""Functions by name; `omniform_codegen.recursion.config` lists the names for the command line."""
