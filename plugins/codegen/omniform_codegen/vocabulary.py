"""What a language model needs of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["SpecialTokens", "Tokenizer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Ids that stand for no bytes; `None` where a tokenizer has none.

    Attributes:
        end: between documents: stands before the first token of each, and after the last.
        prefix, suffix, middle: open the three parts of a fill-in-the-middle prompt.
        pad: fills up; `end` serves where it is `None`.
        begin: stands before every prompt, where a checkpoint was trained so (Llama's `<s>`).
        stops: other tokens at which a completion ends, as a family of checkpoints was taught (Code Llama's `<EOT>`).
    """

    end: int
    prefix: int | None = None
    suffix: int | None = None
    middle: int | None = None
    pad: int | None = None
    begin: int | None = None
    stops: tuple[int, ...] = ()

    @property
    def ends(self) -> frozenset[int]:
        """The tokens at any of which a completion ends."""
        return frozenset((self.end, *self.stops))

    @property
    def infills(self) -> bool:
        """Whether there are the tokens that filling in the middle needs."""
        return None not in (self.prefix, self.suffix, self.middle)


class Tokenizer(Protocol):
    """Bytes to ids and back, exactly: `decode(encode(text)) == text` for any bytes."""

    @property
    def special(self) -> SpecialTokens: ...

    def __len__(self) -> int:
        """Return the number V of ids, special ones included."""
        ...

    def encode(self, text: bytes) -> list[int]:
        """Return ids; never special ones, whatever the text says."""
        ...

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the bytes; special ids give none."""
        ...

    def lengths(self) -> np.ndarray:
        """Return how many bytes each id stands for, `(V,)` int64; zero for special ones."""
        ...
