"""The simple baseline of the domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omniform.task import Splits

__all__ = ["MajorityBit"]


@dataclass(frozen=True, slots=True)
class _Constant:
    bit: int

    def predict(self, items: np.ndarray) -> np.ndarray:
        return np.full_like(items, self.bit)


class MajorityBit:
    """Predict the more frequent bit of the training data, always."""

    def fit(self, splits: Splits[np.ndarray], *, seed: int) -> _Constant:
        return _Constant(int(splits.train.mean() >= 0.5))
