"""Windows of ids: for training, some with the middle moved to the end; for scoring, each token of each file once.

Shapes: N ids of all files, L = context. The files lie in one stream, with the end token before, between and behind:

    end f1 f1 f1 end f2 f2 end ... end
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from omniform.errors import ConfigError, IncompatibleError
from omniform_codegen.corpus import Corpus
from omniform_codegen.infilling import transform
from omniform_codegen.tokenizer import encode_corpus
from omniform_codegen.vocabulary import Tokenizer

__all__ = ["UNCOUNTED", "ScoringWindows", "TrainingWindows"]

UNCOUNTED = -100
"""The target of a position that no loss counts."""

_SHORTEST = 16  # ids of a piece that is worth moving the middle of


class TrainingWindows(Dataset[tuple[Tensor, Tensor]]):
    """Ids `(L,)` and the ids behind each, `(L,)`: windows of the stream, each id of which is a target once.

    With probability `infill`, drawn from torch's default generator, the longest piece of a document in a window has
    its middle moved to the end. It takes the room that it had: the suffix gives way to the special tokens. The tokens
    that open the parts are no targets, since every prompt brings them; nor is padding.

    Args:
        context: L.
        infill: share of the windows.

    Raises:
        ConfigError: there is nothing to predict, or a number is out of range.
        IncompatibleError: `infill` is asked for, and the tokenizer has no tokens for it.
    """

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, *, context: int, infill: float) -> None:
        if not 0 <= infill <= 1:
            raise ConfigError(f"expected infill from 0 to 1, got {infill}")
        if infill and not tokenizer.special.infills:
            raise IncompatibleError("the tokenizer has no tokens for filling in the middle; ask for infill 0")
        self.stream, _ = _stream(corpus, tokenizer, context)
        self.tokenizer = tokenizer
        self.context = context
        self.infill = infill

    def __len__(self) -> int:
        return -(-(len(self.stream) - 1) // self.context)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = range(0, len(self.stream) - 1, self.context)[index]
        window = self.stream[start : start + self.context + 1].astype(np.int64)
        if self.infill and torch.rand(()) < self.infill:
            window = self._infilled(window)
        special = self.tokenizer.special
        padded = _padded(window, self.context + 1, special.end if special.pad is None else special.pad)
        targets = padded[1:].copy()
        targets[len(window) - 1 :] = UNCOUNTED
        openers = [token for token in (special.prefix, special.suffix, special.middle) if token is not None]
        targets[np.isin(targets, openers)] = UNCOUNTED
        return torch.from_numpy(padded[:-1].copy()), torch.from_numpy(targets)

    def _infilled(self, window: np.ndarray) -> np.ndarray:
        """Return the window with its longest piece transformed, no longer than before."""
        start, stop = _longest_piece(window, self.tokenizer.special.end)
        if stop - start < _SHORTEST:
            return window
        closed = min(stop + 1, len(window))  # the end token behind the piece, where there is one, closes its middle
        document = self.tokenizer.decode(window[start:stop].tolist())
        piece = transform(document, self.tokenizer, room=closed - start)
        return np.concatenate([window[:start], np.array(piece, dtype=np.int64), window[closed:]])


class ScoringWindows(Dataset[tuple[Tensor, Tensor, int]]):
    """Ids `(L,)`, the ids behind each `(L,)`, and the place of their file: each id of a file, and its end, once.

    A file's first window counts all; each next one starts L // 2 further on and counts what the one before did not
    reach, with at least L // 2 ids before each. The sum of `-log2 p` over a file's targets is its code length.

    Raises:
        ConfigError: there is no file, or `context` is below 2.
    """

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, *, context: int) -> None:
        self.stream, self.starts = _stream(corpus, tokenizer, context)
        self.context = context
        self.stride = context // 2
        self.end = tokenizer.special.end
        further = np.maximum(0, np.diff(self.starts) - context)
        self.first = np.concatenate([[0], np.cumsum(1 + -(-further // self.stride))])  # the first window of each file

    def __len__(self) -> int:
        return int(self.first[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        index = range(len(self))[index]
        place = int(np.searchsorted(self.first, index, side="right")) - 1
        turn = index - int(self.first[place])
        start = int(self.starts[place]) + turn * self.stride
        stop = min(start + self.context, int(self.starts[place + 1]))
        window = self.stream[start : stop + 1].astype(np.int64)
        targets = _padded(window[1:], self.context, UNCOUNTED)
        if turn:
            targets[: self.context - self.stride] = UNCOUNTED
        return torch.from_numpy(_padded(window[:-1], self.context, self.end)), torch.from_numpy(targets), place


def _stream(corpus: Corpus, tokenizer: Tokenizer, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all ids `(N,)` int32, and where each file's opening end token is, `(F + 1,)`, the last one closing all."""
    if context < 2:
        raise ConfigError(f"expected a context of at least 2 tokens, got {context}")
    if not corpus.files:
        raise ConfigError("expected files to cut windows from, got none; widen the filters or name another source")
    end = np.array([tokenizer.special.end], dtype=np.int32)
    files = encode_corpus(corpus, tokenizer)
    starts = np.cumsum([0, *(len(ids) + 1 for ids in files)], dtype=np.int64)
    return np.concatenate([part for ids in files for part in (end, ids)] + [end]), starts


def _longest_piece(window: np.ndarray, end: int) -> tuple[int, int]:
    """Return start and stop of the longest run without end tokens."""
    ends = np.concatenate([[-1], np.flatnonzero(window == end), [len(window)]])
    longest = int(np.diff(ends).argmax())
    return int(ends[longest]) + 1, int(ends[longest + 1])


def _padded(ids: np.ndarray, length: int, value: int) -> np.ndarray:
    return np.pad(ids, (0, length - len(ids)), constant_values=value)
