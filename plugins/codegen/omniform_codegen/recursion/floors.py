"""Learners that know no recursion, beside which every network stands.

For many functions input and output end alike: what differs is an edit of the beginning, `X1 X0` to `X0 X1`. Edits that
were seen are short-cuts; a learner that holds them is right wherever an edge case was seen once, and wrong elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from omniform.task import Floor, Splits
from omniform_codegen.recursion.examples import Examples
from omniform_codegen.recursion.predictions import Predictions
from omniform_codegen.recursion.terms import Tokens

__all__ = ["FLOORS", "Copy", "Shortcut"]

Edit = tuple[Tokens, Tokens]


@dataclass(frozen=True, slots=True)
class CopyPredictor:
    """The tokens that outputs are made of."""

    known: frozenset[str]

    def predict(self, items: Examples) -> Predictions:
        return Predictions(tuple(self.say(example.input) for example in items.examples), items)

    def say(self, tokens: Tokens) -> Tokens:
        """Return the tokens that are known."""
        return tuple(token for token in tokens if token in self.known)


@dataclass(frozen=True, slots=True)
class Copy:
    """Repeat the input, without the tokens that no output in training has."""

    def fit(self, splits: Splits[Examples], *, seed: int) -> CopyPredictor:
        return CopyPredictor(frozenset(token for example in splits.train.examples for token in example.output))


@dataclass(frozen=True, slots=True)
class ShortcutPredictor:
    """Edits of beginnings, the likeliest for each."""

    edits: Mapping[Tokens, Tokens]
    copy: CopyPredictor

    def predict(self, items: Examples) -> Predictions:
        return Predictions(tuple(self.say(example.input) for example in items.examples), items)

    def say(self, tokens: Tokens) -> Tokens:
        """Return the tokens with the edit of the longest known beginning, or a copy where none is known."""
        for length in range(len(tokens), 0, -1):
            if tokens[:length] in self.edits:
                return self.edits[tokens[:length]] + tokens[length:]
        return self.copy.say(tokens)


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Do what was done to the training example whose edited beginning agrees with the input furthest."""

    def fit(self, splits: Splits[Examples], *, seed: int) -> ShortcutPredictor:
        count = Counter(_edit(example.input, example.output) for example in splits.train.examples)
        edits: dict[Tokens, Tokens] = {}
        for (before, after), _ in count.most_common():
            edits.setdefault(before, after)
        return ShortcutPredictor(edits, Copy().fit(splits, seed=seed))


FLOORS = (
    Floor(
        name="shortcut",
        summary="the edit of the training example whose beginning agrees furthest",
        estimator=Shortcut(),
    ),
    Floor(name="copy", summary="the input without tokens that no output has", estimator=Copy()),
)


def _edit(before: Tokens, after: Tokens) -> Edit:
    """Return both without the end that they share."""
    same = 0
    while same < min(len(before), len(after)) - 1 and before[-1 - same] == after[-1 - same]:
        same += 1
    return before[: len(before) - same], after[: len(after) - same]
