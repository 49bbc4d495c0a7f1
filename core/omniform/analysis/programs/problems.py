"""Algorithmic problems on short sequences: histogram, reversal, sorting.

Shapes: S sequences, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from omniform.analysis.programs.model import PADDING
from omniform.errors import ConfigError

__all__ = ["Problem", "make_histogram", "make_reverse", "make_sort"]

_BEGIN, _END = "<s>", "</s>"


@dataclass(frozen=True, slots=True)
class Problem:
    """Sequences that are all different, and a label for each letter.

    Attributes:
        tokens, labels: names of ids.
        inputs: (S, L), padded on the right with `PADDING`.
        targets: (S, L); `PADDING` where no label is asked for.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    inputs: Tensor
    targets: Tensor

    def split(self, held_out: float) -> tuple[Problem, Problem]:
        """Return two problems without a sequence in common; the second has the share `held_out`."""
        count = round(len(self.inputs) * (1 - held_out))
        first = replace(self, inputs=self.inputs[:count], targets=self.targets[:count])
        return first, replace(self, inputs=self.inputs[count:], targets=self.targets[count:])


def make_histogram(*, letters: int, longest: int, count: int, seed: int) -> Problem:
    """Ask for each letter how often it is in the sequence: `<s> a b a` gives `2 1 2`.

    Source of this and the others: Weiss et al., arXiv 2106.06981; Friedman et al., arXiv 2306.01128
    """
    sequences = _sequences(letters, longest, count, seed)
    labels = tuple(str(number) for number in range(1, longest + 1))
    return _problem(sequences, letters, labels, lambda letter: [letter.count(one) - 1 for one in letter], end=False)


def make_reverse(*, letters: int, longest: int, count: int, seed: int) -> Problem:
    """Ask for the sequence backwards: `<s> a b c </s>` gives `c b a`."""
    sequences = _sequences(letters, longest, count, seed)
    return _problem(sequences, letters, _names(letters), lambda letter: letter[::-1], end=True)


def make_sort(*, letters: int, longest: int, count: int, seed: int) -> Problem:
    """Ask for the sequence in the letters' order: `<s> b c a </s>` gives `a b c`."""
    sequences = _sequences(letters, longest, count, seed)
    return _problem(sequences, letters, _names(letters), sorted, end=True)


def _names(letters: int) -> tuple[str, ...]:
    if not 1 <= letters <= 26:
        raise ConfigError(f"expected 1 to 26 letters, got {letters}")
    return tuple("abcdefghijklmnopqrstuvwxyz"[:letters])


def _sequences(letters: int, longest: int, count: int, seed: int) -> list[list[int]]:
    """Draw different sequences of letters; lengths are drawn alike, so that short ones run out first.

    Raises:
        ConfigError: when there are not as many.
    """
    available = sum(letters**length for length in range(1, longest + 1))
    if count > available:
        raise ConfigError(f"expected at most {available} sequences of {letters} letters up to {longest}, got {count}")
    generator = torch.Generator().manual_seed(seed)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        length = int(torch.randint(1, longest + 1, (), generator=generator))
        found[tuple(torch.randint(letters, (length,), generator=generator).tolist())] = None
    drawn = list(found)  # the later the longer, since short ones repeat
    return [list(drawn[index]) for index in torch.randperm(count, generator=generator).tolist()]


def _problem(
    sequences: Sequence[list[int]],
    letters: int,
    labels: tuple[str, ...],
    answer: Callable[[list[int]], list[int]],
    *,
    end: bool,
) -> Problem:
    """Put the beginning, and the end where asked, around the letters, whose ids follow theirs."""
    tokens = (_BEGIN, *([_END] if end else []), *_names(letters))
    first = len(tokens) - letters
    length = max(map(len, sequences)) + first
    inputs = torch.full((len(sequences), length), PADDING)
    targets = torch.full((len(sequences), length), PADDING)
    for row, sequence in enumerate(sequences):
        ids = [0, *(letter + first for letter in sequence), *([1] if end else [])]
        inputs[row, : len(ids)] = torch.tensor(ids)
        targets[row, 1 : len(sequence) + 1] = torch.tensor(answer(sequence))
    return Problem(tokens, labels, inputs, targets)
