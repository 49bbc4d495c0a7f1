"""Kneser-Ney against dictionaries and the formulas written out, and against what any distribution must be."""

from collections import Counter

import numpy as np
import pytest

from omniform_codegen.ngram import KneserNey

V, END = 80, 0


def texts(seed=0, sizes=(2000, 1500, 7, 1)):
    rng = np.random.default_rng(seed)
    chances = 1 / np.arange(1, V)
    return [rng.choice(V - 1, size=n, p=chances / chances.sum()) + 1 for n in sizes]


def oracle(corpus, order):
    """Return `p(w, history)` by Chen and Goodman's equations, counting with dictionaries."""
    stream = [END, *(int(token) for text in corpus for token in (*text, END))]
    raw = {k: Counter(tuple(stream[i - k + 1 : i + 1]) for i in range(k - 1, len(stream))) for k in range(1, order + 1)}
    counts = {order: dict(raw[order])}
    for k in range(1, order):
        fronts = {gram: set() for gram in raw[k]}
        for gram in raw[k + 1]:
            fronts[gram[1:]].add(gram[0])
        counts[k] = {gram: len(front) for gram, front in fronts.items()}

    def discounts(k):
        n = Counter(counts[k].values())
        if not all(n[c] for c in (1, 2, 3, 4)):
            return [0, 0.5, 1, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        wanted = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return [0.0, *(min(max(d, 0.0), most) for d, most in zip(wanted, (1.0, 2.0, 3.0), strict=True))]

    steps = {k: discounts(k) for k in counts}

    def p(w, history, k):
        if k == 0:
            return 1 / V
        context = tuple(history[len(history) - k + 1 :]) if k > 1 else ()
        lower = p(w, history, k - 1)
        followers = {gram: c for gram, c in counts[k].items() if gram[:-1] == context}
        total = sum(followers.values())
        if len(history) < k - 1 or total == 0:
            return lower
        taken = sum(min(steps[k][min(c, 3)], c) for c in followers.values())
        own = followers.get((*context, w), 0)
        return max(own - min(steps[k][min(own, 3)], own), 0) / total + taken / total * lower

    return p


@pytest.mark.parametrize("order", [1, 2, 4])
def test_equals_the_formulas_over_dictionaries(order):
    corpus = texts()
    model, p = KneserNey(corpus, end=END, vocabulary=V, order=order), oracle(corpus, order)
    text = np.array([END, *np.random.default_rng(1).integers(0, V, 40)])
    expected = [p(int(text[t]), text[:t].tolist(), order) for t in range(1, len(text))]
    np.testing.assert_allclose(model.probabilities(text), expected, rtol=1e-12)


def test_a_distribution_sums_to_one_and_agrees_with_the_stream():
    model = KneserNey(texts(), end=END, vocabulary=V, order=4)
    text = np.array([END, *np.random.default_rng(2).integers(0, V, 60)])
    told = model.probabilities(text)
    for t in range(1, len(text)):
        distribution = model.distribution(text[:t].tolist())
        assert distribution.sum() == pytest.approx(1, rel=1e-12)
        assert distribution[text[t]] == pytest.approx(told[t - 1], rel=1e-12)


def test_a_context_that_was_never_seen_takes_the_order_below():
    corpus = [np.array([1, 2, 3] * 20)]
    model = KneserNey(corpus, end=END, vocabulary=V, order=3)
    np.testing.assert_allclose(model.distribution([5, 5]), model.distribution([]), rtol=1e-12)
    assert model.distribution([1, 2]).argmax() == 3


def test_longer_contexts_help_where_there_is_something_to_know():
    rng = np.random.default_rng(3)

    def text(n):  # each token is decided by the two before it, nine times of ten
        out = [1, 2]
        for _ in range(n):
            out.append(int(1 + (out[-1] * 3 + out[-2] * 2) % 30) if rng.random() < 0.9 else int(rng.integers(1, 31)))
        return np.array(out)

    train, test = [text(20_000)], np.array([END, *text(500)])
    costs = [-np.log2(KneserNey(train, end=END, vocabulary=V, order=k).probabilities(test)).mean() for k in (1, 2, 3)]
    assert costs[2] < min(costs[:2])
    assert costs[2] < 1.5  # of log2(30) = 4.9; 0.9 at best
