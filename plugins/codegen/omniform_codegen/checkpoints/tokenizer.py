"""The tokenizer of an open checkpoint, made exact on bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omniform.errors import ConfigError, PluginError, RunError
from omniform_codegen.checkpoints.folder import read_json
from omniform_codegen.checkpoints.special import find_special
from omniform_codegen.checkpoints.spelling import Spelling, read_spelling
from omniform_codegen.vocabulary import SpecialTokens

__all__ = ["CheckpointTokenizer", "load_tokenizer"]


class CheckpointTokenizer:
    """A BPE of the library `tokenizers`, from bytes and to bytes, exactly.

    Ids are those of the library for text, with these exceptions, without which bytes would be lost:

    - bytes that are no UTF-8 become the tokens of single bytes;
    - text is not normalised (Qwen and GPT-NeoX would compose accents to Unicode's NFC);
    - no space is put before the first word (Llama's would): ids of `b" " + text` are those of the library for `text`;
    - a literal U+2581, Llama's mark of a space, becomes the tokens of its bytes;
    - text that reads like a special token, or like a token between brackets added later, is text.

    Args:
        spelling: how tokenizer.json spells bytes.
        special: the special ids.
        size: how many ids the network knows; those that the tokenizer lacks stand for no bytes.

    Attributes:
        vocabulary: the ids of all tokens, special ones included, by what tokenizer.json calls them.

    Raises:
        ConfigError: an id of the tokenizer is none of the network's.
        PluginError: tokenizers is absent.
        RunError: the library cannot read it.
    """

    def __init__(self, spelling: Spelling, special: SpecialTokens, *, size: int) -> None:
        self.vocabulary = {token: place for token, place in spelling.ids.items() if place < size}
        self._special = special
        self._pieces = _pieces(spelling, special, size)
        self._tokenizer = _build(spelling)
        self._singles = spelling.singles
        self._apart = re.compile(f"([\udc80-\udcff{spelling.space}]+)")

    @property
    def special(self) -> SpecialTokens:
        return self._special

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: bytes) -> list[int]:
        """Return ids; never special ones."""
        ids: list[int] = []
        parts = self._apart.split(text.decode("utf-8", "surrogateescape"))
        for place, part in enumerate(parts):
            ids += self._encode_text(part) if place % 2 == 0 else self._spell(part)
        return ids

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the bytes, which are those of the ids one after another; special ids give none."""
        return b"".join(self._pieces[token] for token in ids)

    def lengths(self) -> np.ndarray:
        """Return how many bytes each id stands for, `(V,)` int64."""
        return np.array([len(piece) for piece in self._pieces], dtype=np.int64)

    def _encode_text(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids if text else []
        # merges may end in a special token, and pre-tokenizers may drop text: then bytes, which are always right
        return ids if self.decode(ids) == text.encode() else self._spell(text)

    def _spell(self, text: str) -> list[int]:
        return [self._singles[byte] for byte in text.encode("utf-8", "surrogateescape")]


def load_tokenizer(folder: Path, config: Mapping[str, Any], *, size: int) -> CheckpointTokenizer:
    """Read tokenizer.json, and the special tokens from the files beside it.

    Args:
        config: config.json.
        size: how many ids the network knows.

    Raises:
        ConfigError: it is of a kind that cannot be made exact, or does not fit the network.
        RunError: it is missing or broken.
    """
    if not (folder / "tokenizer.json").exists():
        raise RunError(
            f"expected tokenizer.json in {folder}, got none; save one with transformers' own "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...), or pick a revision that has it"
        )
    spec = read_json(folder, "tokenizer.json")
    spelling = read_spelling(spec, folder / "tokenizer.json")
    known = {token: place for token, place in spelling.ids.items() if place < size}
    return CheckpointTokenizer(spelling, find_special(folder, config, spec, known), size=size)


def _build(spelling: Spelling) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise PluginError(
            "checkpoints need the package tokenizers, which is absent; run pip install 'omniform[codegen]'"
        ) from None
    try:
        return Tokenizer.from_str(json.dumps(spelling.spec))
    except Exception as error:  # the library raises nothing narrower
        raise RunError(f"expected a tokenizer in {spelling.path}, got {error}; fetch the file again") from None


def _pieces(spelling: Spelling, special: SpecialTokens, size: int) -> list[bytes]:
    """Return the bytes of each id."""
    pieces = [b""] * size
    for token, piece in spelling.pieces.items():
        place = spelling.ids[token]
        if not 0 <= place < size:
            raise ConfigError(
                f"expected ids below {size}, the network's vocabulary, in {spelling.path}, got {place} for {token!r}; "
                "tokenizer.json and config.json do not belong together"
            )
        pieces[place] = piece
    for place in (special.end, special.prefix, special.suffix, special.middle, special.pad, special.begin):
        if place is not None:
            if not 0 <= place < size:
                raise ConfigError(f"expected special ids below {size}, the network's vocabulary, got {place}")
            pieces[place] = b""
    return pieces
