"""Simple scanners that every network stands beside.

N = snippets, K = types
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omniform.classification import Predictions
from omniform.task import Floor, Splits
from omniform_codegen.scanning.bandit import bandit_types
from omniform_codegen.scanning.data import types_of
from omniform_codegen.scanning.rules import broken_rules
from omniform_codegen.scanning.snippets import Snippets
from omniform_codegen.scanning.weaknesses import SAFE

__all__ = ["Alarms", "Prior", "floors_of"]

Alarm = Callable[[bytes], tuple[str, ...]]
"""Returns the types that a snippet's last statement is suspected of."""


@dataclass(frozen=True, slots=True, eq=False)
class AlarmsPredictor:
    """Alarms, and how often they were right in training.

    Attributes:
        precision: `(K,)` share of alarms of each type that were right.
        silent: `(K,)` share of each type among the snippets without an alarm.
    """

    alarm: Alarm
    types: tuple[str, ...]
    precision: np.ndarray
    silent: np.ndarray

    def predict(self, items: Snippets) -> Predictions[Snippets]:
        fired = _fired(self.alarm, items, self.types)
        chances = np.where(fired.any(axis=1, keepdims=True), fired * self.precision, self.silent)  # (N, K)
        chances /= np.maximum(chances.sum(axis=1, keepdims=True), 1.0)
        safe = np.clip(1 - chances.sum(axis=1, keepdims=True), 0, 1)
        return Predictions(np.concatenate([safe, chances], axis=1), (SAFE, *self.types), items)


@dataclass(frozen=True, slots=True)
class Alarms:
    """Take a tool's word for it, weighed by how often it was right in training: `(right + 1) / (alarms + 2)`.

    Attributes:
        types: the K types; those of the training snippets if none are given.
    """

    alarm: Alarm
    types: tuple[str, ...] = ()

    def fit(self, splits: Splits[Snippets], *, seed: int) -> AlarmsPredictor:
        types = self.types or types_of(splits.train)
        fired, truth = _fired(self.alarm, splits.train, types), splits.train.targets((SAFE, *types))
        is_type = truth[:, None] == np.arange(1, len(types) + 1)  # (N, K)
        precision = ((fired & is_type).sum(axis=0) + 1) / (fired.sum(axis=0) + 2)
        quiet = np.flatnonzero(~fired.any(axis=1))
        silent = is_type[quiet].sum(axis=0) / max(len(quiet), 1)
        return AlarmsPredictor(self.alarm, types, precision, silent)


@dataclass(frozen=True, slots=True, eq=False)
class PriorPredictor:
    """The share of each class."""

    shares: np.ndarray
    classes: tuple[str, ...]

    def predict(self, items: Snippets) -> Predictions[Snippets]:
        return Predictions(np.tile(self.shares, (len(items), 1)), self.classes, items)


@dataclass(frozen=True, slots=True)
class Prior:
    """Say of every snippet how frequent the classes are in training."""

    types: tuple[str, ...] = ()

    def fit(self, splits: Splits[Snippets], *, seed: int) -> PriorPredictor:
        classes = (SAFE, *(self.types or types_of(splits.train)))
        count = np.bincount(splits.train.targets(classes), minlength=len(classes))
        return PriorPredictor(count / count.sum(), classes)


def floors_of(types: tuple[str, ...]) -> tuple[Floor, ...]:
    """Return the floors for these types, the strongest first."""
    return (
        Floor(
            name="rules",
            summary="regular expressions on the last lines, weighed by how often they were right in training",
            estimator=Alarms(broken_rules, types),
        ),
        Floor(
            name="bandit",
            summary="bandit on the snippet, as it is or closed so that it parses; its alarms weighed likewise",
            estimator=Alarms(bandit_types, types),
        ),
        Floor(name="prior", summary="how frequent each type is", estimator=Prior(types)),
    )


def _fired(alarm: Alarm, items: Snippets, types: tuple[str, ...]) -> np.ndarray:
    """Return which alarms each snippet raises, `(N, K)` bool."""
    index = {cwe: place for place, cwe in enumerate(types)}
    fired = np.zeros((len(items), len(types)), dtype=bool)
    for row, item in enumerate(items.items):
        fired[row, [index[cwe] for cwe in alarm(item.code) if cwe in index]] = True
    return fired
