"""What every code model is compared with: n-grams with a cache, and copying from what is alike.

F = files, T = tokens of a file
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from omniform.task import Floor, Splits
from omniform_codegen.cache import Cache, cache_chances
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus
from omniform_codegen.ngram import KneserNey
from omniform_codegen.predictions import Predictions
from omniform_codegen.retrieval import Retrieval
from omniform_codegen.spans import Span
from omniform_codegen.tokenizer import BytePair, with_ends
from omniform_codegen.vocabulary import Tokenizer

__all__ = ["CachedNGrams", "Copying", "floors_of"]

_SHARES = tuple(share / 20 for share in range(20))
_MOST_TOKENS = 64
_BACK = 3
_PAST = 2000  # tokens in front of a gap that are looked at


def floors_of(config: CompleteConfig) -> tuple[Floor, ...]:
    """Return the floors of a resolved config, whose tokenizer they share with the networks."""
    return (
        Floor(
            name="ngram",
            summary="Kneser-Ney 5-grams of the training files, mixed with a cache of the file's own 3-grams",
            estimator=_Fit(config, CachedNGrams.fit),
        ),
        Floor(
            name="retrieval",
            summary="what followed the longest context like this one, in the file or in the training files",
            estimator=_Fit(config, Copying.fit),
        ),
    )


class _Model(Protocol):
    def chances(self, text: np.ndarray) -> np.ndarray:
        """Return `p(w_t | w_{<t})` of each token but the first, `(T - 1,)`."""
        ...

    def continued(self, text: Sequence[int], start: bytes, tokens: Sequence[bytes]) -> Iterator[int]:
        """Yield likely tokens behind a text, one after another, whose bytes begin with `start`; none if it has none."""
        ...


class CachedNGrams:
    """Mix `(1 - share)` of a Kneser-Ney model with `share` of the file's own cache."""

    def __init__(self, ngrams: KneserNey, share: float) -> None:
        self.ngrams, self.share = ngrams, share

    @classmethod
    def fit(cls, train: Sequence[np.ndarray], validation: Sequence[np.ndarray], vocabulary: int) -> CachedNGrams:
        """Count the training texts, and choose the share by the code length of validation."""
        ngrams = KneserNey([text[1:-1] for text in train], end=int(train[0][0]), vocabulary=vocabulary)
        parts = [(ngrams.probabilities(text), cache_chances(text, vocabulary)) for text in validation]
        counted, cached = (np.concatenate(part) for part in zip(*parts, strict=True))
        share = min(_SHARES, key=lambda share: -np.log((1 - share) * counted + share * cached).sum())
        return cls(ngrams, share)

    def chances(self, text: np.ndarray) -> np.ndarray:
        counted = self.ngrams.probabilities(text)
        return (1 - self.share) * counted + self.share * cache_chances(text, self.ngrams.vocabulary)

    def continued(self, text: Sequence[int], start: bytes, tokens: Sequence[bytes]) -> Iterator[int]:
        history = list(text)
        cache = Cache(vocabulary=self.ngrams.vocabulary)
        for token in history:
            cache.add(token)
        while True:
            chances = (1 - self.share) * self.ngrams.distribution(history) + self.share * cache.distribution()
            if start:
                fits = [bool(token) and (token.startswith(start) or start.startswith(token)) for token in tokens]
                chances = np.where(fits, chances, -1.0)
            token = int(chances.argmax())
            yield token
            start = start[len(tokens[token]) :]
            history.append(token)
            cache.add(token)


class Copying:
    """Trust what is retrieved as often as it was right on validation, and single tokens' frequencies for the rest."""

    def __init__(self, retrieval: Retrieval, trust: np.ndarray, frequency: np.ndarray) -> None:
        self.retrieval, self.trust, self.frequency = retrieval, trust, frequency

    @classmethod
    def fit(cls, train: Sequence[np.ndarray], validation: Sequence[np.ndarray], vocabulary: int) -> Copying:
        retrieval = Retrieval(train)
        right, tried = np.zeros((2, 17))
        for text in validation:
            told, length = retrieval.follow(text)
            right += np.bincount(length, weights=told == text[1:], minlength=17)
            tried += np.bincount(length, minlength=17)
        trust = (right + 1) / (tried + 2)
        trust[0] = 0.0
        counts = np.bincount(np.concatenate([text[1:] for text in train]), minlength=vocabulary) + 1.0
        return cls(retrieval, trust, counts / counts.sum())

    def chances(self, text: np.ndarray) -> np.ndarray:
        told, length = self.retrieval.follow(text)
        trust = self.trust[length]
        return trust * (told == text[1:]) + (1 - trust) * self.frequency[text[1:]]

    def continued(self, text: Sequence[int], start: bytes, tokens: Sequence[bytes]) -> Iterator[int]:
        passage = self.retrieval.passage(np.array(text), _MOST_TOKENS).tolist()
        fits = b"".join(tokens[token] for token in passage).startswith(start)
        return iter(passage if fits else ())


@dataclass(frozen=True, slots=True)
class _Fit:
    """Fit a floor on the training files, in the tokens of the config."""

    config: CompleteConfig
    fit_model: Callable[[Sequence[np.ndarray], Sequence[np.ndarray], int], _Model]

    def fit(self, splits: Splits[Corpus], *, seed: int) -> _Predictor:
        tokenizer = BytePair.from_text(self.config.tokenizer)
        train, validation = (with_ends(part, tokenizer) for part in (splits.train, splits.validation))
        tokens = [tokenizer.decode([token]) for token in range(len(tokenizer))]
        return _Predictor(self.fit_model(train, validation, len(tokenizer)), tokenizer, tokens)


@dataclass(frozen=True, slots=True)
class _Predictor:
    """A fitted floor."""

    model: _Model
    tokenizer: Tokenizer
    tokens: Sequence[bytes]

    def predict(self, items: Corpus) -> Predictions:
        texts = with_ends(items, self.tokenizer)
        bits = np.array([-np.log2(self.model.chances(text)).sum() for text in texts])
        return Predictions(bits, items, self.complete)

    def complete(self, items: Corpus, spans: Sequence[Span]) -> list[bytes]:
        """Fill gaps from what stands before them, up to the end of the line."""
        return [self._fill(items.files[span.place].content[: span.start]) for span in spans]

    def _fill(self, before: bytes) -> bytes:
        """Return what goes on to the end of the line.

        It is written from a few tokens back, and has to begin with their bytes: a cursor within a word is within a
        token, behind which nothing was ever seen.
        """
        past = [self.tokenizer.special.end, *self.tokenizer.encode(before)][-_PAST:]
        for back in range(min(_BACK, len(past) - 1), -1, -1):
            start = self.tokenizer.decode(past[len(past) - back :])
            if text := self._written(past[: len(past) - back], start):
                return text.partition(b"\n")[0]
        return b""

    def _written(self, past: Sequence[int], start: bytes) -> bytes:
        """Return the bytes that follow `start`, up to the end of a line or file."""
        text = b""
        for token in islice(self.model.continued(past, start, self.tokens), _MOST_TOKENS):
            text += self.tokens[token]
            if token == self.tokenizer.special.end or b"\n" in text[len(start) :]:
                break
        return text[len(start) :]
