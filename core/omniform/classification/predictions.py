"""Probabilities of classes, and how they meet the truth.

N = items, K = classes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

__all__ = ["Labelled", "Predictions", "confusion", "representative"]


class Labelled(Protocol):
    """Items with labels."""

    def __len__(self) -> int: ...

    def targets(self, classes: tuple[str, ...]) -> np.ndarray:
        """Return the index of each label among `classes`, `(N,)`."""
        ...


ItemsT = TypeVar("ItemsT", bound=Labelled)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions(Generic[ItemsT]):
    """Probabilities for every one of `items`.

    Attributes:
        probabilities: `(N, K)` float64, rows of sum 1.
        classes: the K classes.
    """

    probabilities: np.ndarray
    classes: tuple[str, ...]
    items: ItemsT

    def __post_init__(self) -> None:
        expected = (len(self.items), len(self.classes))
        if self.probabilities.shape != expected:
            raise ValueError(f"expected probabilities of shape {expected}, got {self.probabilities.shape}")

    @property
    def best(self) -> np.ndarray:
        """The index of the likeliest class of each item, `(N,)`."""
        return self.probabilities.argmax(axis=1)

    @property
    def labels(self) -> tuple[str, ...]:
        """The likeliest class of each item."""
        return tuple(self.classes[index] for index in self.best)


def confusion(predictions: Predictions[Any], items: Labelled) -> np.ndarray:
    """Return `(K, K)` counts: true class by predicted class."""
    count = len(predictions.classes)
    cell = items.targets(predictions.classes) * count + predictions.best
    return np.bincount(cell, minlength=count**2).reshape(count, count)


def representative(predictions: Mapping[str, Predictions[Any]], items: Labelled, most: int) -> list[int]:
    """Return items at even ranks of the mean probability of the right class, from the surest to the least sure."""
    sure = np.zeros(len(items))
    for told in predictions.values():
        sure += told.probabilities[np.arange(len(items)), items.targets(told.classes)]
    order = np.argsort(-sure, kind="stable")
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [int(order[place]) for place in places]
