"""Byte-level byte pair encoding: trained on a corpus, exact for any bytes, small enough to lie in a run's config.json.

Ids: 0 .. 255 are the bytes, 256 .. V - 6 what merges made, the last five are special.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omniform.errors import ConfigError, RunError
from omniform.serial import read_json
from omniform_codegen.corpus import Corpus
from omniform_codegen.vocabulary import SpecialTokens, Tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Encoder

__all__ = ["SPECIAL_NAMES", "BytePair", "encode_corpus", "is_written", "load_tokenizer", "train_tokenizer", "with_ends"]

SPECIAL_NAMES = ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>")
"""What the special tokens are called in a tokenizer.json, in the order of their ids (StarCoder's names)."""

_WORDS = "|".join(
    (
        r"[\r\n]+[ \t]*",  # ends of lines, and the indentation behind them
        r" ?[A-Za-z_\x{80}-\x{10FFFF}]+",  # a name with the blank before it; whatever is not ASCII counts as a letter
        r" ?[0-9]{1,3}",
        r" ?[!-/:-@\[-\^`{-~]+",  # punctuation
        r"[ \t]+(?= [!-~\x{80}-\x{10FFFF}])",  # blanks, but for the one that belongs to the next word
        r"[\x{00}-\x09\x0B\x0C\x0E-\x20\x7F]+",
    )
)
"""What merges stay within. Its classes tell ASCII from the rest and no more, so that it cuts Latin-1 characters that
stand for the bytes of UTF-8 where it cuts the text itself."""

_MARK = "bpe1:"
_BATCH = 1 << 20  # bytes encoded at once: each token costs the encoder about 100 bytes while it is at it


class BytePair:
    """A tokenizer by its merges, each a pair of ids; the n-th merge that makes new bytes makes the id `256 + n`.

    The encoder sees each byte as the Latin-1 character of that number, which is exact for any bytes, NULs and broken
    UTF-8 included. Special tokens are unknown to it: text that says `<fim_prefix>` is text.

    Raises:
        ConfigError: a merge is of ids that there are not yet.
    """

    def __init__(self, merges: Sequence[tuple[int, int]]) -> None:
        self.merges = tuple(merges)
        self._tokens = _tokens(self.merges)
        first = len(self._tokens)
        self._special = SpecialTokens(end=first, prefix=first + 1, suffix=first + 2, middle=first + 3, pad=first + 4)

    def __reduce__(self) -> tuple[type[BytePair], tuple[tuple[tuple[int, int], ...]]]:
        return BytePair, (self.merges,)

    @property
    def special(self) -> SpecialTokens:
        """The last five ids."""
        return self._special

    def __len__(self) -> int:
        return len(self._tokens) + len(SPECIAL_NAMES)

    def encode(self, text: bytes) -> list[int]:
        """Return ids; never special ones, whatever the text says."""
        return self._encoder.encode(text.decode("latin-1")).ids

    def encode_batch(self, texts: Sequence[bytes]) -> Iterator[np.ndarray]:
        """Yield the ids of each text, `(N,)` int32, as `encode` gives them, about twice as fast."""
        batch: list[str] = []
        size = 0
        for place, text in enumerate(texts):
            batch.append(text.decode("latin-1"))
            size += len(text)
            if size >= _BATCH or place == len(texts) - 1:
                for encoding in self._encoder.encode_batch_fast(batch):
                    yield np.array(encoding.ids, dtype=np.int32)
                batch, size = [], 0

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the bytes; special ids give none."""
        return b"".join(self._tokens[index] for index in ids if index < len(self._tokens))

    def lengths(self) -> np.ndarray:
        """Return how many bytes each id stands for, `(V,)` int64; zero for special ones."""
        return self._lengths.copy()

    def to_text(self) -> str:
        """Return the merges in printable ASCII without blanks: a mark, then base64 of a CRC-32 and 3 bytes an id."""
        ids = b"".join(index.to_bytes(3, "little") for merge in self.merges for index in merge)
        return _MARK + base64.b64encode(zlib.crc32(ids).to_bytes(4, "little") + ids).decode()

    @classmethod
    def from_text(cls, text: str) -> BytePair:
        """Undo `to_text`.

        Raises:
            ConfigError: it was not written by `to_text`, or is damaged.
        """
        if not text.startswith(_MARK):
            raise ConfigError(f"expected a tokenizer that starts with {_MARK!r}, got {text[:16]!r}; train it again")
        try:
            raw = base64.b64decode(text[len(_MARK) :], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"the tokenizer is damaged ({error}); train it again") from error
        check, ids = raw[:4], raw[4:]
        if len(ids) % 6 or zlib.crc32(ids).to_bytes(4, "little") != check:
            raise ConfigError("the tokenizer is damaged: its check sum is not that of its merges; train it again")
        numbers = [int.from_bytes(ids[start : start + 3], "little") for start in range(0, len(ids), 3)]
        return cls(list(zip(numbers[::2], numbers[1::2], strict=True)))

    def to_json(self) -> str:
        """Return a Hugging Face `tokenizer.json`, which gives the same ids on text, for transformers to read.

        There `SPECIAL_NAMES` are special, and found in text too, unless `split_special_tokens` is asked for.
        """
        from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers

        tokenizer = Tokenizer(self._model(_printable()))
        split = pre_tokenizers.Split(Regex(_WORDS), "isolated")
        spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, spell])  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.add_special_tokens(list(SPECIAL_NAMES))
        return tokenizer.to_str(pretty=True)

    @classmethod
    def from_json(cls, text: str) -> BytePair:
        """Undo `to_json`.

        Raises:
            ConfigError: it is not a tokenizer.json that `to_json` wrote.
        """
        try:
            model = json.loads(text)["model"]
            ids = {token: int(index) for token, index in model["vocab"].items()}
            tokenizer = cls([(ids[left], ids[right]) for left, right in model["merges"]])
            same = _essence(tokenizer.to_json()) == _essence(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"expected a tokenizer.json of a trained tokenizer: {error!r}; train one") from error
        if not same:
            raise ConfigError("expected a tokenizer.json of a tokenizer trained here, got another's; train one")
        return tokenizer

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.array([len(token) for token in self._tokens] + [0] * len(SPECIAL_NAMES), dtype=np.int64)

    @cached_property
    def _encoder(self) -> Encoder:
        from tokenizers import Tokenizer

        encoder = Tokenizer(self._model([chr(byte) for byte in range(256)]))
        encoder.pre_tokenizer = _split()  # pyright: ignore[reportAttributeAccessIssue]
        return encoder

    def _model(self, alphabet: Sequence[str]) -> Any:
        """Return the merges as the Rust side wants them, bytes spelt by `alphabet`."""
        from tokenizers.models import BPE

        spelt = ["".join(alphabet[byte] for byte in token) for token in self._tokens]
        vocabulary = {token: index for index, token in enumerate(spelt)}
        return BPE(vocab=vocabulary, merges=[(spelt[left], spelt[right]) for left, right in self.merges])


def train_tokenizer(corpus: Corpus, size: int) -> BytePair:
    """Merge the most frequent pair of neighbours again and again (arXiv 1508.07909), never across words.

    The same corpus gives the same merges. A small corpus gives fewer ids than `size`: pairs that occur once are let be.

    Raises:
        ConfigError: `size` leaves no id for a merge.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    least = 256 + len(SPECIAL_NAMES) + 1
    if size < least:
        raise ConfigError(f"expected a vocabulary of at least {least} (bytes, special tokens, a merge), got {size}")
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = _split()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = BpeTrainer(
        vocab_size=size - len(SPECIAL_NAMES),
        min_frequency=2,
        show_progress=False,
        initial_alphabet=[chr(byte) for byte in range(256)],
    )
    learner.train_from_iterator((file.content.decode("latin-1") for file in corpus.files), trainer)
    model = json.loads(learner.to_str())["model"]
    return BytePair([(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]])


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer) -> list[np.ndarray]:
    """Return the ids of each file, `(N,)` int32."""
    contents = [file.content for file in corpus.files]
    if isinstance(tokenizer, BytePair):
        return list(tokenizer.encode_batch(contents))
    return [np.array(tokenizer.encode(content), dtype=np.int32) for content in contents]


def with_ends(corpus: Corpus, tokenizer: Tokenizer) -> list[np.ndarray]:
    """Return the ids of each file with the end token before and behind, `(N + 2,)`."""
    end = [tokenizer.special.end]
    return [np.concatenate([end, ids, end]) for ids in encode_corpus(corpus, tokenizer)]


def is_written(text: str) -> bool:
    """Tell whether a text is a whole tokenizer, as `BytePair.to_text` writes it, rather than where to find one."""
    return text.startswith(_MARK)


def load_tokenizer(path: Path) -> BytePair:
    """Read the tokenizer of a run folder, or a tokenizer.json that `BytePair.to_json` wrote.

    Raises:
        ConfigError: there is no such tokenizer in it.
        RunError: the path is neither.
    """
    if path.is_file():
        try:
            return BytePair.from_json(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: expected a tokenizer.json, got a file that is not UTF-8") from error
    if not (path / "config.json").is_file():
        raise RunError(f"expected a run folder or a tokenizer.json, got {path}; name a folder that `train` wrote")
    match read_json(path / "config.json"):
        case {"config": {"tokenizer": str(text)}} if text:
            return BytePair.from_text(text)
    raise ConfigError(f"{path / 'config.json'}: expected a tokenizer in its config; name a run of the task complete")


def _essence(text: str) -> tuple[Any, ...]:
    """Return what tells two tokenizer.json apart, whichever version of the library wrote them."""
    content = json.loads(text)
    added = [(token["id"], token["content"]) for token in content["added_tokens"]]
    return content["model"]["vocab"], content["pre_tokenizer"], content["normalizer"], added


def _tokens(merges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return the bytes of each id; two merges may make the same, which then is one id."""
    tokens = [bytes((byte,)) for byte in range(256)]
    known = set(tokens)
    for left, right in merges:
        if not 0 <= min(left, right) <= max(left, right) < len(tokens):
            raise ConfigError(f"expected merges of ids below {len(tokens)}, got {left} and {right}; train it again")
        token = tokens[left] + tokens[right]
        if token not in known:
            known.add(token)
            tokens.append(token)
    return tokens


def _split() -> Any:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    return Split(Regex(_WORDS), "isolated")


def _printable() -> list[str]:
    """Return the characters by which GPT-2 spells bytes: Latin-1's own where they are visible, from U+0100 on else."""
    visible = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + hidden.index(byte)) for byte in range(256)]
