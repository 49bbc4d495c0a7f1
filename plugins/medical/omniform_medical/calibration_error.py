"""How far the confidence of voxels is from how often they are right.

L = 256 levels of confidence, of which 255 is certainty
"""

from __future__ import annotations

import numpy as np

__all__ = ["BINS", "calibration_error", "confidence_counts"]

BINS = 15
_LEVELS = 256
_CHUNK = 1 << 22  # voxels counted at a time: counting takes 8 bytes of each


def confidence_counts(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count voxels, and those that are right, at each level of confidence, `(L,)` each."""
    confidence, right = confidence.ravel(), right.ravel()
    seen, correct = np.zeros(_LEVELS, np.int64), np.zeros(_LEVELS, np.int64)
    for start in range(0, len(confidence), _CHUNK):
        part, hits = confidence[start : start + _CHUNK], right[start : start + _CHUNK]
        seen += np.bincount(part, minlength=_LEVELS)
        correct += np.bincount(part[hits], minlength=_LEVELS)
    return seen, correct


def calibration_error(seen: np.ndarray, correct: np.ndarray) -> float:
    """Return the expected calibration error (arXiv 1706.04599) of the counts of `confidence_counts`.

    `sum over bins of n_b / n * |accuracy_b - mean confidence_b|` with 15 bins `((b - 1) / 15, b / 15]`; the first
    holds 0 as well.
    """
    levels = np.arange(_LEVELS)
    bins = np.maximum(-(-levels * BINS // (_LEVELS - 1)), 1) - 1
    sure = seen * levels / (_LEVELS - 1)
    gap = np.bincount(bins, weights=correct - sure, minlength=BINS)
    return float(np.abs(gap).sum() / seen.sum())
