"""Rocket: many random convolutions, two numbers of each, and a ridge classifier on top.

N = cases, T = rows, C = channels, M = kernels of a group, W = windows, l = kernel length
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omniform.classification import Predictions
from omniform.task import Splits
from omniform_timeseries.classification.collection import Collection, join
from omniform_timeseries.classification.ridge import RidgeClassifier, fit_ridge
from omniform_timeseries.classification.scaling import ChannelScale, by_case
from omniform_timeseries.classification.splitting import classes_of

__all__ = ["Kernels", "Rocket", "RocketPredictor", "draw_kernels"]

_LENGTHS = (7, 9, 11)
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """Random kernels of one length, dilation and padding.

    Attributes:
        weights: `(l, C, M)`; zero in channels that a kernel does not read.
        bias: `(M,)`.
        dilation: rows between two weights.
        padding: zero rows added at both ends.
    """

    weights: np.ndarray
    bias: np.ndarray
    dilation: int
    padding: int

    @property
    def span(self) -> int:
        """The rows that a kernel covers."""
        return (len(self.weights) - 1) * self.dilation + 1

    def features(self, cases: Sequence[np.ndarray]) -> np.ndarray:
        """Return `(N, 2 M)`: the share of positive outputs and the largest output of every kernel on every case.

        Output `t` is `bias + sum_jc w_jc x_(t + j dilation - padding, c)`. A case keeps its own length: its outputs are
        those that it would have alone. One that is shorter than a kernel is continued by zeros to the kernel's span.
        """
        rows = max(self.span, max(len(case) for case in cases) + 2 * self.padding)
        blocks = []
        size = max(1, _CHUNK_BYTES // (8 * rows * (self.weights.shape[0] * self.weights.shape[1] + len(self.bias))))
        for start in range(0, len(cases), size):
            blocks.append(self._block(cases[start : start + size], rows))
        return np.concatenate(blocks)

    def _block(self, cases: Sequence[np.ndarray], rows: int) -> np.ndarray:
        padded = np.zeros((len(cases), rows, cases[0].shape[1]))
        for place, case in enumerate(cases):
            padded[place, self.padding : self.padding + len(case)] = case
        windows = rows - self.span + 1
        taps = [padded[:, j * self.dilation : j * self.dilation + windows] for j in range(len(self.weights))]
        flat = np.concatenate(taps, axis=2)  # (N, W, l C)
        out = flat @ self.weights.reshape(-1, len(self.bias)) + self.bias  # (N, W, M)
        lengths = np.array([len(case) for case in cases])
        count = np.maximum(lengths + 2 * self.padding - self.span + 1, 1)  # outputs of each case
        hidden = np.arange(windows) >= count[:, None]
        out[hidden] = -np.inf
        return np.concatenate([(out > 0).sum(axis=1) / count[:, None], out.max(axis=1)], axis=1)


def draw_kernels(count: int, *, length: int, num_channels: int, rng: np.random.Generator) -> list[Kernels]:
    """Draw kernels as the paper does, grouped by length, dilation and padding.

    Length 7, 9 or 11; weights standard normal less their mean; bias uniform in [-1, 1]; dilation `floor(2^a)` with `a`
    uniform from 0 to `log2((length - 1) / (l - 1))`; padded by half of the span, or not, by a coin. A kernel reads
    `floor(2^b)` random channels, `b` uniform from 0 to `log2(C + 1)`, each with weights of its own (the multivariate
    form of the authors' and of public implementations; the paper itself treats one channel).

    Args:
        length: rows of the longest training case.
    """
    groups: dict[tuple[int, int, int], list[tuple[np.ndarray, float]]] = {}
    for _ in range(count):
        size = int(rng.choice(_LENGTHS))
        most = max(0.0, float(np.log2(max(length - 1, 1) / (size - 1))))
        dilation = int(2 ** rng.uniform(0, most))
        padding = (size - 1) * dilation // 2 if rng.integers(2) else 0
        read = min(num_channels, int(2 ** rng.uniform(0, np.log2(num_channels + 1))))
        weights = np.zeros((size, num_channels))
        drawn = rng.standard_normal((size, read))
        weights[:, rng.choice(num_channels, read, replace=False)] = drawn - drawn.mean(axis=0)
        groups.setdefault((size, dilation, padding), []).append((weights, rng.uniform(-1, 1)))
    return [
        Kernels(np.stack([w for w, _ in members], axis=2), np.array([b for _, b in members]), dilation, padding)
        for (_, dilation, padding), members in sorted(groups.items(), key=lambda item: item[0])
    ]


@dataclass(frozen=True, slots=True, eq=False)
class RocketPredictor:
    """Random convolutions and the ridge classifier that was fitted to them."""

    kernels: Sequence[Kernels]
    ridge: RidgeClassifier
    scale: ChannelScale
    own_scale: bool
    classes: tuple[str, ...]

    def predict(self, items: Collection) -> Predictions:
        features = _transform(self.kernels, _scaled(items, self.scale, own=self.own_scale))
        return Predictions(self.ridge.probabilities(features), self.classes, items)


@dataclass(frozen=True, slots=True)
class Rocket:
    """Random convolutional kernels and a ridge classifier (arXiv 1910.13051).

    Whether cases are normalised each by itself, as the paper's are, or by the training mean and deviation of a channel,
    which leaves them their level, is decided by the squared error of left-out cases. Nothing here is chosen on
    validation, so its cases are trained on as well.
    """

    kernels: int = 2000

    def fit(self, splits: Splits[Collection], *, seed: int) -> RocketPredictor:
        cases = join(splits.train, splits.validation)
        classes, scale = classes_of(cases), ChannelScale.of(cases)
        targets = cases.targets(classes)
        rng = np.random.default_rng(seed)
        longest = int(cases.lengths.max())
        bank = draw_kernels(self.kernels, length=longest, num_channels=len(cases.channels), rng=rng)
        fitted = {
            own: fit_ridge(_transform(bank, _scaled(cases, scale, own=own)), targets, len(classes))
            for own in (True, False)
        }
        own = fitted[True].error <= fitted[False].error
        return RocketPredictor(bank, fitted[own], scale, own, classes)


def _scaled(cases: Collection, scale: ChannelScale, *, own: bool) -> list[np.ndarray]:
    scaled = scale.apply(cases)
    return by_case(scaled) if own else scaled


def _transform(bank: Sequence[Kernels], cases: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([kernels.features(cases) for kernels in bank], axis=1)
