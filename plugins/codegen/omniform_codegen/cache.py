r"""What a file has said so far, as a language model: words come back where they have been.

.. math::
    p_k(w \mid h) = \frac{c(hw) + T(h)\, p_{k-1}(w \mid h')}{c(h) + T(h)}, \qquad p_0 = 1/V

with c the counts within the file and T(h) the number of different tokens seen behind h (Witten-Bell smoothing).
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

__all__ = ["Cache", "cache_chances"]


class Cache:
    """n-grams of the tokens given so far.

    Args:
        vocabulary: V.
        order: the longest n-gram.

    Source: Kuhn and De Mori, A Cache-Based Natural Language Model for Speech Recognition, 1990; smoothing by Witten and
    Bell, The Zero-Frequency Problem, 1991.
    """

    def __init__(self, *, vocabulary: int, order: int = 3) -> None:
        self.vocabulary, self.order = vocabulary, order
        self._history: list[int] = []
        self._followers: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)

    def add(self, token: int) -> None:
        """Take the next token of the file."""
        for context in self._contexts():
            self._followers[context][token] += 1
        self._history.append(token)

    def probability(self, token: int) -> float:
        """Return the probability that this token is next."""
        chance = 1.0 / self.vocabulary
        for context in self._contexts():
            followers = self._followers.get(context)
            if followers is None:
                break
            chance = (followers[token] + len(followers) * chance) / (followers.total() + len(followers))
        return chance

    def distribution(self) -> np.ndarray:
        """Return the probability of every token to be next, `(V,)`."""
        chances = np.full(self.vocabulary, 1.0 / self.vocabulary)
        for context in self._contexts():
            followers = self._followers.get(context)
            if followers is None:
                break
            counts = np.zeros(self.vocabulary)
            counts[list(followers)] = list(followers.values())
            chances = (counts + len(followers) * chances) / (followers.total() + len(followers))
        return chances

    def _contexts(self) -> list[tuple[int, ...]]:
        """Return what stands in front, from the empty context to the longest."""
        longest = min(self.order - 1, len(self._history))
        return [tuple(self._history[len(self._history) - k :]) for k in range(longest + 1)]


def cache_chances(text: np.ndarray, vocabulary: int) -> np.ndarray:
    """Return what a cache of the file's own past says of each token but the first, `(T - 1,)`."""
    cache = Cache(vocabulary=vocabulary)
    chances = np.empty(len(text) - 1)
    for place, token in enumerate(text.tolist()):
        if place:
            chances[place - 1] = cache.probability(token)
        cache.add(token)
    return chances
