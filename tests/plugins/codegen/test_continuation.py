"""Stop strings against a search in the whole text after every token."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from omniform_codegen.continuation import Continuation, Piece
from omniform_codegen.vocabulary import SpecialTokens

END = 0
WORDS = [b"", b"a", b"b", b"ab", b"ba", b"aab", b"\n", b"a\nb", b"bbaab\n"]


class _Words:
    special = SpecialTokens(end=END)

    def __len__(self) -> int:
        return len(WORDS)

    def encode(self, text: bytes) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: Sequence[int]) -> bytes:
        return b"".join(WORDS[id] for id in ids)

    def lengths(self) -> np.ndarray:
        return np.array([len(word) for word in WORDS])


def _by_hand(ids: Sequence[int], stop: Sequence[bytes], limit: int) -> tuple[list[int], bytes, str]:
    text, taken = b"", []
    for id in ids:
        if id == END:
            return taken, text, "end"
        taken, text = [*taken, id], text + WORDS[id]
        cuts = [text.index(each) for each in stop if each in text]
        if cuts:
            starts = np.cumsum([0] + [len(WORDS[id]) for id in taken])
            return (
                [id for id, start in zip(taken, starts, strict=False) if start < min(cuts)],
                text[: min(cuts)],
                "stop",
            )
        if len(taken) == limit:
            return taken, text, "length"
    raise AssertionError("the script is too short")


@pytest.mark.parametrize("seed", range(300))
def test_random_tokens_end_where_a_search_says(seed: int) -> None:
    draw = Random(seed)
    ids = [draw.randrange(len(WORDS)) if draw.random() < 0.5 else draw.randrange(1, 7) for _ in range(20)]
    stop = [bytes(draw.choice(b"ab\n") for _ in range(draw.randint(1, 5))) for _ in range(draw.randint(0, 3))]
    continuation, settled = Continuation(_Words(), stop, 15), list[Piece]()
    tokens, text, ended = _by_hand(ids, stop, 15)
    for place, id in enumerate(ids):
        settled += continuation.add(id, place / 100)
        assert text.startswith(b"".join(piece.text for piece in settled))
        if continuation.ended is not None:
            break
    assert [piece.token for piece in settled] == tokens
    assert b"".join(piece.text for piece in settled) == text
    assert [piece.probability for piece in settled] == [place / 100 for place in range(len(tokens))]
    assert continuation.ended == ended


def test_a_token_is_held_back_only_while_a_stop_string_may_have_begun() -> None:
    continuation = Continuation(_Words(), [b"aab"], 9)
    assert [len(continuation.add(id, 1.0)) for id in (2, 1, 1, 1, 6)] == [1, 0, 0, 1, 3]
