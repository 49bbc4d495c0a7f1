"""What a language model says about the files of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from omniform_codegen.corpus import Corpus
from omniform_codegen.spans import Span

__all__ = ["Complete", "Predictions"]

Complete = Callable[[Corpus, Sequence[Span]], list[bytes]]
"""Fills spans of a corpus: what was generated for each, in their order."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """How many bits each file takes, and what would stand in its gaps.

    Attributes:
        bits: (F,) code length `-log2 p(file)`, the end token included, in order of `items`.
        items: the files.
        complete: fills spans when asked to; generation is dear, and not every score wants it.
    """

    bits: np.ndarray
    items: Corpus
    complete: Complete
