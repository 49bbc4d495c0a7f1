"""Scores of completing code, as sums over files.

F = files
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from omniform.task import LazyStatistics, Metric, Scores, Statistic, Units
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus
from omniform_codegen.predictions import Predictions
from omniform_codegen.similarity import edit_similarity, exact_match
from omniform_codegen.spans import Span, draw_spans

__all__ = ["gap_statistics", "groups_of", "metrics_of", "score"]

_METRICS = {
    "bits_per_byte": Metric(name="bits_per_byte", unit="bits"),
    "exact_match": Metric(name="exact_match", unit="share of gaps", lower_is_better=False),
    "edit_similarity": Metric(name="edit_similarity", unit="mean over gaps", lower_is_better=False),
}
_SPANS_SEED = 0  # everyone fills the same gaps


def metrics_of(primary: str) -> tuple[Metric, ...]:
    """Return all metrics, this one first."""
    return (_METRICS[primary], *(metric for name, metric in _METRICS.items() if name != primary))


def score(predictions: Predictions, items: Corpus, config: CompleteConfig) -> Scores:
    """Score code lengths against the files' sizes, and what fills the gaps against what stood there.

    Bits per byte is `sum_f -log2 p(f) / sum_f |f|`. Gaps are filled when one of their scores is first asked for. Files
    of one package are resampled together.
    """
    if predictions.items is not items and predictions.items != items:
        raise ValueError("expected predictions of exactly these files")
    filled = cache(lambda: _fill(predictions, items, config))
    sizes = np.array([float(len(file.content)) for file in items.files])
    statistics = LazyStatistics(
        {
            "bits_per_byte": lambda: Statistic(predictions.bits, sizes),
            "exact_match": lambda: filled()["exact_match"],
            "edit_similarity": lambda: filled()["edit_similarity"],
        }
    )
    return Scores(statistics, Units(kind="group", groups=groups_of(items)))


def groups_of(items: Corpus) -> np.ndarray:
    """Return the number of each file's package, `(F,)`."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(file.group for file in items.files))}
    return np.array([numbers[file.group] for file in items.files])


def _fill(predictions: Predictions, items: Corpus, config: CompleteConfig) -> dict[str, Statistic]:
    spans = draw_spans(items, count=config.spans, seed=_SPANS_SEED)
    return gap_statistics(items, spans, predictions.complete(items, spans), np.arange(len(items)))


def gap_statistics(
    items: Corpus, spans: Sequence[Span], told: Sequence[bytes], owners: np.ndarray, *, count: int | None = None
) -> dict[str, Statistic]:
    """Return exact match and edit similarity of what was written into gaps, as sums over the gaps of each unit.

    Args:
        owners: `(F,)` the unit of each file.
        count: of units; as many as there are files if unsaid.
    """
    right, alike, gaps = np.zeros((3, len(items) if count is None else count))
    for span, text in zip(spans, told, strict=True):
        truth, owner = items.files[span.place].content[span.start : span.stop], owners[span.place]
        right[owner] += exact_match(text, truth)
        alike[owner] += edit_similarity(text, truth)
        gaps[owner] += 1
    return {"exact_match": Statistic(right, gaps), "edit_similarity": Statistic(alike, gaps)}
