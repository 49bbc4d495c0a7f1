"""What a model makes of added lines: their code length, and which of them it fills in.

Shapes: W windows, L tokens of one, C commits, B windows at a time, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniform.task import Statistic
from omniform_codegen.filling import fill_gaps
from omniform_codegen.language import LanguageModel
from omniform_codegen.metrics import gap_statistics
from omniform_codegen.model import CausalModel
from omniform_codegen.personalization.changes import Additions
from omniform_codegen.spans import Span
from omniform_codegen.vocabulary import Tokenizer
from omniform_codegen.windows import UNCOUNTED, ScoringWindows

__all__ = ["AddedLines", "gap_scores"]

_AT_A_TIME = 16
_MOST_LOGITS = 1 << 24


@dataclass(frozen=True, slots=True)
class AddedLines:
    """The windows that score what commits added, given what stands before it in the file.

    Attributes:
        ids, targets: (W, L); every token of a file is a target of one window, with at least L / 2 tokens before it
            unless the file begins there.
        shares: (W, L) float32, the share of each target's bytes that was added; a token may straddle an end of a line.
        owners: (W,) the place of each window's commit.
        sizes: (C,) how many bytes each commit added.
    """

    ids: Tensor
    targets: Tensor
    shares: Tensor
    owners: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, additions: Additions, tokenizer: Tokenizer, *, context: int) -> AddedLines:
        """Cut windows, and keep those that any added byte lies in."""
        windows = ScoringWindows(additions.files, tokenizer, context=context)
        lengths = tokenizer.lengths()
        added = [_flags(len(file.content), r) for file, r in zip(additions.files.files, additions.ranges, strict=True)]
        reached = np.zeros(len(added), dtype=np.int64)  # bytes of each file that targets have told so far
        kept: list[tuple[Tensor, Tensor, np.ndarray, int]] = []
        for index in range(len(windows)):
            ids, targets, place = windows[index]
            counted = targets.numpy() != UNCOUNTED
            sizes = lengths[targets.numpy()[counted]]
            stops = reached[place] + np.cumsum(sizes)
            reached[place] += sizes.sum()
            inside = added[place][stops] - added[place][stops - sizes]
            if inside.any():
                shares = np.zeros(len(targets), dtype=np.float32)
                shares[counted] = inside / np.maximum(sizes, 1)
                kept.append((ids, targets, shares, place))
        sizes = np.zeros(additions.count)
        np.add.at(sizes, additions.owners, [float(counts[-1]) for counts in added])
        return cls(
            torch.stack([ids for ids, _, _, _ in kept]),
            torch.stack([targets for _, targets, _, _ in kept]),
            torch.from_numpy(np.stack([shares for _, _, shares, _ in kept])),
            additions.owners[[place for _, _, _, place in kept]],
            sizes,
        )

    @torch.no_grad()
    def bits(self, model: CausalModel) -> Statistic:
        """Return bits and bytes of what each commit added: the value is bits per byte."""
        weight = model.output_weight
        total = np.zeros(len(self.sizes))
        for start in range(0, len(self.ids), _AT_A_TIME):
            rows = slice(start, start + _AT_A_TIME)
            hidden = model.hidden(self.ids[rows].to(weight.device))  # (B, L, D)
            row, place = self.shares[rows].nonzero(as_tuple=True)  # of the M targets that tell anything
            targets, shares = self.targets[rows][row, place], self.shares[rows][row, place]
            bits = _nats(hidden[row, place], weight, targets.to(weight.device)).cpu() * shares / log(2)
            np.add.at(total, self.owners[rows][row.numpy()], bits.double().numpy())
        return Statistic(total, self.sizes)


def gap_scores(language: LanguageModel, additions: Additions, gaps: Sequence[Span]) -> dict[str, Statistic]:
    """Fill gaps in added lines greedily; sums over each commit's gaps."""
    told = fill_gaps(language, additions.files, gaps) if gaps else []
    return gap_statistics(additions.files, gaps, told, additions.owners, count=additions.count)


def _nats(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return `-log p` of each target, (M,), with logits of a few targets at a time: there may be 150,000 for each."""
    chunk = max(1, _MOST_LOGITS // len(weight))
    pieces = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    return torch.cat([F.cross_entropy(F.linear(h, weight).float(), t, reduction="none") for h, t in pieces])


def _flags(size: int, ranges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return how many added bytes lie before each place of a file, `(size + 1,)`."""
    flags = np.zeros(size + 1, dtype=np.int64)
    for start, stop in ranges:
        flags[start + 1 : stop + 1] = 1
    return flags.cumsum()
