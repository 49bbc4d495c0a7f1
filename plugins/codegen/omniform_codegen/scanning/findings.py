"""Findings: where in which file a statement brings a weakness, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from omniform.classification import Predictions
from omniform_codegen.scanning.metrics import weak_probabilities
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.scanning.statements import Region
from omniform_codegen.scanning.weaknesses import describe

__all__ = ["Finding", "distinct", "finding", "findings_of"]

_NOWHERE = Region(1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One weakness in one statement.

    Attributes:
        file: as it was named.
        region: the statement.
        cwe, name, message, remedy: of the type of weakness.
        confidence: the probability that the statement is weak; `None` where a rule said so, which tells none.
    """

    file: str
    region: Region
    cwe: str
    name: str
    message: str
    remedy: str
    confidence: float | None

    @property
    def line(self) -> int:
        """The first line of the statement, from 1."""
        return self.region.line

    @property
    def column(self) -> int:
        """The first column of the statement, from 1."""
        return self.region.column


def finding(item: Snippet, cwe: str, confidence: float | None) -> Finding:
    """Return what was found in a snippet's last statement."""
    kind = describe(cwe)
    return Finding(item.name, item.region or _NOWHERE, cwe, kind.name, kind.message, kind.remedy, confidence)


def findings_of(predictions: Predictions[Snippets], threshold: float) -> tuple[Finding, ...]:
    """Return the likeliest type of each snippet that is weak with at least this probability, in order."""
    chances = weak_probabilities(predictions)
    best = predictions.probabilities[:, 1:].argmax(axis=1) + 1
    found = (
        finding(predictions.items.items[row], predictions.classes[best[row]], float(chances[row]))
        for row in np.flatnonzero(chances >= threshold)
    )
    return distinct(found)


def distinct(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the surest of the findings of one file, line and type, in the order of the first."""
    kept: dict[tuple[str, int, str], Finding] = {}
    for each in found:
        key = (each.file, each.line, each.cwe)
        if key not in kept or (each.confidence or 0.0) > (kept[key].confidence or 0.0):
            kept[key] = each
    return tuple(kept.values())
