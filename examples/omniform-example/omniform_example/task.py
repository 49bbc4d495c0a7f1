"""The task `recall`: say again the bit that came `delay` steps ago."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from omniform.errors import DataError
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits, Statistic, Units
from omniform_example.config import RecallConfig
from omniform_example.data import MIN_SEQUENCES, read_bits, write_bits
from omniform_example.floors import MajorityBit

__all__ = ["Recall"]


class Recall:
    """Read `(N, L)` bits and predict, at each step from `delay` on, the bit of `delay` steps before."""

    name = "recall"
    config = RecallConfig

    def metrics(self, config: RecallConfig) -> tuple[Metric, ...]:
        return (Metric(name="error", unit="share of wrong bits"),)

    def read(self, source: str | Path, config: RecallConfig) -> np.ndarray:
        bits = self.predictor_items(source, config)
        if len(bits) < MIN_SEQUENCES:
            raise DataError(f"expected at least {MIN_SEQUENCES} sequences to split, got {len(bits)}; add some")
        return bits

    def fingerprint(self, data: np.ndarray) -> str:
        return hashlib.sha256(repr(data.shape).encode() + data.astype("<i8").tobytes()).hexdigest()

    def resolve(self, data: np.ndarray, config: RecallConfig) -> RecallConfig:
        return replace(config, length=data.shape[1])

    def split(self, data: np.ndarray, config: RecallConfig) -> Splits[np.ndarray]:
        """Split 7 : 1.5 : 1.5 by sequence; sequences are independent."""
        train, validation, test = np.split(data, [len(data) * 70 // 100, len(data) * 85 // 100])
        return Splits(train, validation, test)

    def floors(self, config: RecallConfig) -> Sequence[Floor]:
        return (Floor(name="majority-bit", summary="the more frequent bit, always", estimator=MajorityBit()),)

    def network(self, splits: Splits[np.ndarray], config: RecallConfig, mixer: str) -> Network:
        from omniform_example.network import describe_network

        assert config.length is not None  # by `resolve`
        return describe_network(mixer, config.length, config.delay)

    def predictor_items(self, source: str | Path, config: RecallConfig) -> np.ndarray:
        bits = read_bits(source)
        if config.length not in (None, bits.shape[1]):
            raise DataError(f"expected sequences of {config.length} bits, got {bits.shape[1]} in {source}")
        if bits.shape[1] <= config.delay:
            raise DataError(f"expected sequences longer than the delay of {config.delay}, got {bits.shape[1]} bits")
        return bits

    def score(self, predictions: np.ndarray, items: np.ndarray, config: RecallConfig) -> Scores:
        wrong = predictions[:, config.delay :] != items[:, : -config.delay]  # (N, L - delay)
        error = Statistic(total=wrong.sum(axis=1).astype(float), weight=np.full(len(wrong), float(wrong.shape[1])))
        return Scores({"error": error}, Units(kind="group"))

    def write(self, predictions: np.ndarray, path: Path) -> None:
        write_bits(predictions, path)

    def figures(
        self, predictions: Mapping[str, np.ndarray], items: np.ndarray, config: RecallConfig
    ) -> Iterable[NamedFigure]:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        for name, bits in predictions.items():
            axes.plot((bits[:, config.delay :] != items[:, : -config.delay]).mean(axis=0), label=name)
        axes.set(xlabel="step", ylabel="share of wrong bits")
        axes.legend()
        yield NamedFigure("error", "Share of wrong bits at each step.", figure)
