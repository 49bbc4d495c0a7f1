"""Splitting snippets: parts that the data names stay, and what was made from one thing stays together."""

from __future__ import annotations

import numpy as np

from omniform.errors import DataError
from omniform.task import Splits
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.data import types_of
from omniform_codegen.scanning.sample import PARTS
from omniform_codegen.scanning.snippets import Snippets

__all__ = ["split_snippets"]


def split_snippets(snippets: Snippets, config: ScanConfig) -> Splits[Snippets]:
    """Split snippets at random, whole groups at a time, seeded by `config.split_seed`.

    Where the data names parts, it names them for all. Groups go, in a random order that brings rare types first, to the
    part that lacks most of their most frequent type.

    Raises:
        DataError: some snippets have a part and others none, a group is in two parts, or a part lacks
            weak or safe ones.
    """
    groups = snippets.groups()
    named = [item.part for item in snippets.items]
    if all(named):
        part = np.array([PARTS.index(name) for name in named])
    elif any(named):
        raise DataError("expected a part (train, validation, test) for every snippet or for none")
    else:
        part = _deal(snippets, groups, np.array(config.shares()), config.split_seed)
    for group in np.unique(groups):
        own = part[groups == group]
        if (own != own[0]).any():
            name = snippets.items[int(np.flatnonzero(groups == group)[0])].group
            raise DataError(f"the group {name!r} is in two parts of the split; expected it in one")
    splits = [snippets.take(np.flatnonzero(part == place)) for place in range(3)]
    for name, own in zip(PARTS, splits, strict=True):
        try:
            types_of(own)
        except DataError as error:
            raise DataError(f"the {name} part: {error}; give more groups or name the parts") from error
    return Splits(*splits)


def _deal(snippets: Snippets, groups: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Return the part of each snippet, `(N,)`."""
    labels = np.unique([item.label or "" for item in snippets.items], return_inverse=True)[1]
    counts = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    wanted = shares[:, None] * counts.sum(axis=0)  # (3, labels)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))
    rarest = np.array([counts.sum(axis=0)[row > 0].min() for row in counts])
    order = order[np.argsort(rarest[order], kind="stable")]
    dealt, have = np.zeros(len(counts), dtype=np.int64), np.zeros_like(wanted)
    for group in order:
        label = int(np.argmax(counts[group]))
        lack = (wanted[:, label] - have[:, label]) / shares
        dealt[group] = int(np.argmax(lack))
        have[dealt[group]] += counts[group]
    return dealt[groups]
