r"""An n-gram model with modified Kneser-Ney smoothing, exact and over arrays.

T = tokens of a text, V = vocabulary, G_k = different k-grams

Every order is a table of its k-grams, sorted by (number of the first k - 1 tokens in the order below, last token), so
that a k-gram is found by bisection, and what may follow a context is one slice.

.. math::
    p_k(w \mid h) = \frac{\max(c_k(hw) - D_k(c_k(hw)), 0)}{c_k(h)} + \gamma_k(h)\, p_{k-1}(w \mid h'), \qquad
    \gamma_k(h) = \frac{\sum_w \min(D_k(c_k(hw)), c_k(hw))}{c_k(h)}

with :math:`h'` the context without its first token, :math:`p_0 = 1/V`, and :math:`c_k` the number of times in the
highest order, but the number of different tokens in front in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["KneserNey"]

_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class _Order:
    """The k-grams of one order: keys in order, discounted shares, and what is left of each context for the order below.

    Attributes:
        keys: (G_k,) number of the context times V, plus the token; sorted.
        share: (G_k,) `max(c - D(c), 0) / c(h)`.
        rest: (G_{k-1},) gamma of each context; 1 where it is never followed.
    """

    keys: np.ndarray
    share: np.ndarray
    rest: np.ndarray


class KneserNey:
    """Fit n-grams of orders 1 to `order` to texts.

    Args:
        texts: arrays of ids, each as it stands between two end tokens.
        end: the id that stands before and behind every text.
        vocabulary: V.
        order: the longest n-gram.

    Source: Chen and Goodman, An Empirical Study of Smoothing Techniques for Language Modeling, 1999 (equations 26, 27).
    """

    def __init__(self, texts: Sequence[np.ndarray], *, end: int, vocabulary: int, order: int = 5) -> None:
        self.vocabulary, self.order = vocabulary, order
        stream = np.concatenate([[end], *(part for text in texts for part in (text, [end]))]).astype(np.int64)
        keys, numbers, first = self._count(stream)
        self._orders: list[_Order] = []
        for k in range(1, order + 1):
            if k == order:
                count = np.bincount(numbers[k][numbers[k] >= 0], minlength=len(keys[k]))
            else:  # each different (k + 1)-gram ends in one k-gram
                count = np.bincount(numbers[k][first[k + 1]], minlength=len(keys[k]))
            self._orders.append(self._discounted(keys[k], count, contexts=len(keys[k - 1]) if k > 1 else 1))

    def probabilities(self, text: np.ndarray) -> np.ndarray:
        """Return `p(w_t | w_{<t})` of each token of a text but its first, `(T - 1,)`: the first is only seen."""
        chances = np.full(len(text) - 1, 1.0 / self.vocabulary)
        contexts = np.zeros(len(text) - 1, dtype=np.int64)  # (k - 1)-grams in front; the empty one has the number 0
        first = self._find(self._orders[0].keys, contexts[:1], text[:1])  # of the grams that end at the first token
        for order in self._orders:
            grams = self._find(order.keys, contexts, text[1:])
            known, found = contexts >= 0, grams >= 0
            chances[known] *= order.rest[contexts[known]]
            chances[found] += order.share[grams[found]]
            contexts = np.concatenate([first, grams[:-1]])  # k-grams in front of each token
            first = np.array([_UNKNOWN])  # a single token holds no longer one
        return chances

    def distribution(self, history: Sequence[int]) -> np.ndarray:
        """Return `p(w | history)` for all w, `(V,)`."""
        chances = np.full(self.vocabulary, 1.0 / self.vocabulary)
        for k, order in enumerate(self._orders, start=1):
            context = self._context(history[len(history) - k + 1 :]) if k - 1 <= len(history) else _UNKNOWN
            if context < 0:
                break
            chances *= order.rest[context]
            low, high = np.searchsorted(order.keys, (context * self.vocabulary, (context + 1) * self.vocabulary))
            chances[order.keys[low:high] % self.vocabulary] += order.share[low:high]
        return chances

    def _context(self, tokens: Sequence[int]) -> int:
        number = 0
        for order, token in zip(self._orders, tokens, strict=False):
            number = int(self._find(order.keys, np.array([number]), np.array([token]))[0])
            if number < 0:
                break
        return number

    def _count(self, stream: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Return for each order its keys, the number of the k-gram that ends at each place, and where each is first."""
        keys = [np.zeros(1, dtype=np.int64)]
        numbers = [np.zeros(len(stream), dtype=np.int64)]
        first = [np.zeros(1, dtype=np.int64)]
        for k in range(1, self.order + 1):
            whole = np.arange(k - 1, len(stream))  # places with k tokens up to here
            before = numbers[k - 1][whole - 1] if k > 1 else np.zeros(len(whole), dtype=np.int64)
            unique, where, number = np.unique(
                before * self.vocabulary + stream[whole], return_index=True, return_inverse=True
            )
            placed = np.full(len(stream), _UNKNOWN, dtype=np.int64)
            placed[whole] = number
            keys.append(unique)
            numbers.append(placed)
            first.append(whole[where])
        return keys, numbers, first

    def _discounted(self, keys: np.ndarray, count: np.ndarray, *, contexts: int) -> _Order:
        steps = _discounts(count)
        taken = np.minimum(steps[np.minimum(count, 3)], count)
        context = keys // self.vocabulary
        total = np.bincount(context, weights=count, minlength=contexts)
        left = np.bincount(context, weights=taken, minlength=contexts)
        rest = np.divide(left, total, out=np.ones(contexts), where=total > 0)
        share = np.divide(count - taken, total[context], out=np.zeros(len(keys)), where=total[context] > 0)
        return _Order(keys, share, rest)

    def _find(self, keys: np.ndarray, context: np.ndarray, token: np.ndarray) -> np.ndarray:
        """Return the number of each k-gram, -1 where there is none."""
        wanted = context * self.vocabulary + token
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((context >= 0) & (keys[place] == wanted), place, _UNKNOWN)


def _discounts(count: np.ndarray) -> np.ndarray:
    """Return what is taken from counts of 0, 1, 2, and 3 or more, estimated from how many there are of each.

    Where counts of 1 to 4 do not all occur, as among single tokens, there is no estimate: 0.5, 1 and 1.5 (KenLM's).
    """
    n1, n2, n3, n4 = (int((count == n).sum()) for n in (1, 2, 3, 4))
    if not all((n1, n2, n3, n4)):
        return np.array([0.0, 0.5, 1.0, 1.5])
    y = n1 / (n1 + 2 * n2)
    steps = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return np.clip(steps, 0.0, [0.0, 1.0, 2.0, 3.0])
