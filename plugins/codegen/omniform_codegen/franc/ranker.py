"""The quality-aware ranker: the best suggestion first, and how much that improves on the order they came in.

Source: FRANC, arXiv 2307.08220.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omniform_codegen.franc.quality import Quality, assess
from omniform_codegen.franc.static_filter import Mended

__all__ = ["Ranked", "ndcg", "rank", "relevance"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A suggestion and its quality."""

    mended: Mended
    quality: Quality


def rank(suggestions: Sequence[Mended]) -> list[Ranked]:
    """Return suggestions by falling quality; equals stay in the order they came in."""
    assessed = [Ranked(mended, assess(mended.code)) for mended in suggestions]
    return sorted(assessed, key=lambda ranked: -ranked.quality.score)


def relevance(quality: Quality) -> int:
    """Return what security and error findings leave of a suggestion: 3 for none, 0 if one is grave.

    Findings that are grave (a weight of 4 and more), middling (of 1 and more) and slight are the steps.
    """
    worst = max((finding.weight for finding in quality.findings if finding.kind != "maintainability"), default=0.0)
    return 3 - int(worst > 0) - int(worst >= 1) - int(worst >= 4)


def ndcg(relevances: Sequence[float], at: int = 10) -> float:
    r"""Return the normalised discounted cumulative gain of an order; 1 where nothing is relevant.

    .. math:: \frac{\sum_{i \le k} (2^{r_i} - 1) / \log_2 (i + 1)}{\text{the same of the best order}}
    """
    gains = 2.0 ** np.asarray(relevances, dtype=np.float64) - 1
    discounts = 1 / np.log2(np.arange(2, min(at, len(gains)) + 2))
    best = float((np.sort(gains)[::-1][:at] * discounts).sum())
    return float((gains[:at] * discounts).sum()) / best if best else 1.0
