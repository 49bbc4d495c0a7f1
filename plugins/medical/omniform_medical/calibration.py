"""A segmenter that is right as often as it says: temperature scaling on validation voxels.

N = voxels, K = classes
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.optimize import root_scalar
from scipy.special import log_softmax, softmax

from omniform.errors import DataError

__all__ = ["TEMPERATURES", "fit_temperature", "near_foreground", "negative_log_likelihood"]

TEMPERATURES = (0.05, 20.0)
"""Bounds of a temperature: beyond them a network that never errs on validation would claim certainty."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature T that minimises the NLL of `softmax(logits / T)` (Guo et al., arXiv 1706.04599).

    The NLL is convex in `b = 1 / T`, so its minimum is the root of the derivative

        d/db mean(logsumexp(b z) - b z_y) = mean(sum_k softmax(b z)_k z_k - z_y),

    found in float64 by Brent's method within `TEMPERATURES`; at a bound where no root lies between them. As T = 1 lies
    there too, the NLL never rises. No class changes: T is common to all.

    Args:
        logits: `(N, K)` of voxels that decide something; far from the foreground they teach nothing.
        labels: `(N,)` true classes.

    Raises:
        DataError: no voxels, or logits that are not finite.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if len(z) == 0:
        raise DataError("expected voxels to fit a temperature on, got none; add labelled validation cases")
    if not np.isfinite(z).all():
        raise DataError("expected finite logits to fit a temperature on, got NaN or infinity; train again")
    z = z - z.max(axis=1, keepdims=True)
    target = np.take_along_axis(z, y[:, None], axis=1).mean()

    def slope(b: float) -> float:
        return float((softmax(b * z, axis=1) * z).sum(axis=1).mean() - target)

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if np.ptp(z) == 0:
        return 1.0  # every temperature says the same
    if slope(low) > 0:
        return TEMPERATURES[1]
    if slope(high) <= 0:
        return TEMPERATURES[0]
    return 1 / float(root_scalar(slope, bracket=(low, high), method="brentq").root)


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean NLL in nats of labels `(N,)` under `softmax(logits / temperature)`, `(N, K)`."""
    log = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return float(-np.take_along_axis(log, np.asarray(labels, dtype=np.int64)[:, None], axis=1).mean())


def near_foreground(label: np.ndarray, distance: int = 5) -> np.ndarray:
    """Return which voxels lie within a cube of `distance` voxels around the foreground of `(X, Y, Z)`.

    Background far away is easy and plentiful: averaged over it, every calibration looks perfect.
    """
    return maximum_filter(label > 0, size=2 * distance + 1, mode="constant")
