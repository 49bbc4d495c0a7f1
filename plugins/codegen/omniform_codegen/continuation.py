"""One sequence while it grows: bytes, stop strings, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from omniform_codegen.vocabulary import Tokenizer

__all__ = ["Continuation", "Ended", "Piece"]

Ended = Literal["stop", "end", "length"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token that was generated and stays.

    Attributes:
        text: its bytes, which need not be whole characters; cut if a stop string begins among them.
        probability: under the distribution before temperature and cuts.
    """

    token: int
    text: bytes
    probability: float


class Continuation:
    """Hold back tokens for as long as a stop string may have begun in them.

    Args:
        stop: byte strings before which the text ends, wherever tokens begin and end in them.
        limit: the most tokens.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[bytes], limit: int) -> None:
        self.ended: Ended | None = None
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._left = limit
        self._held: list[Piece] = []

    def add(self, token: int, probability: float) -> list[Piece]:
        """Take the next token; return the pieces that are settled now."""
        if token in self._tokenizer.special.ends:
            self.ended = "end"
            return self._release(sum(len(piece.text) for piece in self._held))
        self._held.append(Piece(token, self._tokenizer.decode([token]), probability))
        self._left -= 1
        text = b"".join(piece.text for piece in self._held)
        if (cut := _first(text, self._stop)) is not None:
            self.ended = "stop"
            return self._cut(cut)
        if self._left == 0:
            self.ended = "length"
            return self._release(len(text))
        return self._release(len(text) - _begun(text, self._stop))

    def _release(self, size: int) -> list[Piece]:
        """Let go of the pieces that lie within the first `size` bytes held."""
        count = end = 0
        for piece in self._held:
            end += len(piece.text)
            if end > size:
                break
            count += 1
        released, self._held = self._held[:count], self._held[count:]
        return released

    def _cut(self, size: int) -> list[Piece]:
        """Let go of the first `size` bytes held, and drop the rest."""
        kept = []
        for piece in self._held:
            if size <= 0:
                break
            kept.append(replace(piece, text=piece.text[:size]))
            size -= len(piece.text)
        return kept


def _first(text: bytes, stop: Sequence[bytes]) -> int | None:
    return min((place for each in stop if (place := text.find(each)) >= 0), default=None)


def _begun(text: bytes, stop: Sequence[bytes]) -> int:
    """Return how many last bytes a stop string may begin with."""
    return max((n for each in stop for n in range(1, len(each)) if text.endswith(each[:n])), default=0)
