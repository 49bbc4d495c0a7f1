"""Scanning in a few lines: code in, findings out, and probabilities while it is being typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from omniform.classification import Predictions
from omniform.errors import ConfigError
from omniform.learner import Learner
from omniform.task import Task
from omniform.training.config import Training
from omniform_codegen.scanning.config import MetricName, ScanConfig
from omniform_codegen.scanning.data import read_file, source_files
from omniform_codegen.scanning.findings import Finding, distinct, finding, findings_of
from omniform_codegen.scanning.metrics import THRESHOLD, weak_probabilities
from omniform_codegen.scanning.rules import broken_rules
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.scanning.task import Scan
from omniform_codegen.scanning.weaknesses import SAFE

__all__ = ["Judge", "RuleScanner", "Scanner", "scan_files"]

_DEFAULT = ScanConfig()


class Judge(Protocol):
    """Anything that scans code."""

    def scan(self, text: str | bytes, *, file: str = "-", threshold: float = THRESHOLD) -> tuple[Finding, ...]:
        """Return the weak statements of a file."""
        ...

    def weakness(self, prefixes: Sequence[bytes]) -> np.ndarray:
        """Return the probability that the last statement of each prefix is weak."""
        ...


class Scanner(Learner[ScanConfig]):
    """Scan code with one network.

    What is trained on is a `.jsonl`, a folder of type folders, or `"sample"`; see `scanning.data.read_snippets`.

    Args:
        mixer: the id of a token mixer; `omniform zoo --kind token-mixer` lists them.
        metric, split, split_seed, snippets, types, context, buckets, rules, dropout: as in `ScanConfig`.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers.
        seed: of initialisation, order and dropout.
        training: optimiser settings, device and precision.
    """

    domain: ClassVar[str] = "codegen"
    task: ClassVar[Task[Any, Any]] = Scan()

    def __init__(
        self,
        mixer: str = "attention",
        *,
        metric: MetricName = _DEFAULT.metric,
        split: str = _DEFAULT.split,
        split_seed: int = _DEFAULT.split_seed,
        snippets: int = _DEFAULT.snippets,
        types: str | None = _DEFAULT.types,
        context: int = _DEFAULT.context,
        buckets: int = _DEFAULT.buckets,
        rules: bool = _DEFAULT.rules,
        dropout: float = _DEFAULT.dropout,
        params: int = 200_000,
        depth: int = 2,
        seed: int = 0,
        training: Training | None = None,
    ) -> None:
        config = ScanConfig(
            metric=metric,
            split=split,
            split_seed=split_seed,
            snippets=snippets,
            types=types,
            context=context,
            buckets=buckets,
            rules=rules,
            dropout=dropout,
        )
        super().__init__(config, mixer, params=params, depth=depth, seed=seed, training=training)

    def fit(self, data: str | Path, *, budget: str = "2m", progress: bool = True) -> Self:
        """Train on snippets; a budget is a time (`"90s"`, `"2m"`) or steps (`"300"`).

        Raises:
            DataError: the data is refused.
            ConfigError: unknown mixer, or no such budget.
            SizeError: the parameters cannot be met.
        """
        self._fit(self.task.read(data, self.config), data, budget=budget, progress=progress)
        return self

    def evaluate(self, data: str | Path | None = None) -> dict[str, dict[str, float]]:
        """Return the test scores of the network and, behind it, of the floors, fitted to the same data.

        Raises:
            ConfigError: nothing was fitted, or a loaded network was given no data.
            DataError: `data` is refused.
        """
        config = self._ready().config
        return self._scores(None if data is None else self.task.read(data, config))

    def scan(self, text: str | bytes, *, file: str = "-", threshold: float = THRESHOLD) -> tuple[Finding, ...]:
        """Return the weak statements of a file, each judged as if its end were the cursor.

        Args:
            file: its name, for the findings.
            threshold: the least probability of a finding.

        Raises:
            ConfigError: nothing was fitted, or the threshold is no probability.
        """
        _check_threshold(threshold)
        items = read_file(file, _bytes(text))
        return findings_of(self._told(items), threshold) if items else ()

    def at(self, prefix: str | bytes) -> dict[str, float]:
        """Return the probability of each type, and of `"safe"`, for the statement at the end of `prefix`.

        Raises:
            ConfigError: nothing was fitted.
        """
        told = self._told([Snippet(_bytes(prefix))])
        return dict(zip(told.classes, told.probabilities[0].tolist(), strict=True))

    def weakness(self, prefixes: Sequence[bytes]) -> np.ndarray:
        """Return the probability that the last statement of each prefix is weak."""
        return weak_probabilities(self._told([Snippet(prefix) for prefix in prefixes]))

    def _told(self, items: Sequence[Snippet]) -> Predictions[Snippets]:
        return self._predict(Snippets(tuple(items)))


class RuleScanner:
    """Scan code with the regular expressions that every network stands beside; needs no training."""

    def scan(self, text: str | bytes, *, file: str = "-", threshold: float = THRESHOLD) -> tuple[Finding, ...]:
        """Return the statements that break a rule. Rules tell no probability: the threshold changes nothing."""
        _check_threshold(threshold)
        items = read_file(file, _bytes(text))
        return distinct(finding(item, cwe, None) for item in items for cwe in broken_rules(item.code))

    def at(self, prefix: str | bytes) -> dict[str, float]:
        """Return 1 for each type whose rule the statement at the end of `prefix` breaks, or for `"safe"`."""
        return dict.fromkeys(broken_rules(_bytes(prefix)) or (SAFE,), 1.0)

    def weakness(self, prefixes: Sequence[bytes]) -> np.ndarray:
        """Return 1 where the last statement of a prefix breaks a rule, else 0."""
        return np.array([float(bool(broken_rules(prefix))) for prefix in prefixes])


def scan_files(
    judge: Judge, sources: Sequence[str | Path], *, threshold: float = THRESHOLD
) -> Iterator[tuple[str, tuple[Finding, ...]]]:
    """Yield name and findings of each file: of files, of the `.py` files of folders, of standard input (`-`).

    Raises:
        DataError: a source cannot be read.
    """
    for source in sources:
        for name, code in source_files(source):
            yield name, judge.scan(code, file=name, threshold=threshold)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "replace") if isinstance(text, str) else text


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise ConfigError(f"expected a threshold above 0 and at most 1, got {threshold}")
