"""The floors as code lengths that add up, and as completions of what they have seen."""

from dataclasses import replace

import numpy as np
import pytest

from omniform.task import Splits
from omniform_codegen.cache import Cache
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.floors import floors_of
from omniform_codegen.spans import Span
from omniform_codegen.tokenizer import BytePair, train_tokenizer


@pytest.fixture(scope="module")
def splits(corpus):
    return Splits(corpus.take(range(16)), corpus.take(range(16, 20)), corpus.take(range(20, 24)))


@pytest.fixture(scope="module")
def config(splits):
    return replace(CompleteConfig(), tokenizer=train_tokenizer(splits.train, 400).to_text())


@pytest.fixture(scope="module", params=["ngram", "retrieval"])
def fitted(request, splits, config):
    floor = next(floor for floor in floors_of(config) if floor.name == request.param)
    return floor.estimator.fit(splits, seed=0)


def test_bits_are_those_of_a_distribution(fitted, splits, config):
    """Every next token's probabilities, over all tokens, sum to one."""
    tokenizer = BytePair.from_text(config.tokenizer)
    end = tokenizer.special.end
    ids = [end, *tokenizer.encode(splits.test.files[0].content)[:40]]
    chances = [fitted.model.chances(np.array([*ids, token]))[-1] for token in range(len(tokenizer))]
    assert sum(chances) == pytest.approx(1)


def test_files_it_was_fitted_on_are_cheaper_than_noise(fitted, splits):
    noise = Corpus((SourceFile("x.py", np.random.default_rng(0).bytes(2000), "x"),))
    seen, unseen, random = (fitted.predict(part) for part in (splits.train, splits.test, noise))

    def rate(told):
        return told.bits.sum() / told.items.size

    assert rate(seen) < 2.0
    assert rate(unseen) < 2.5
    assert rate(random) > 8


def test_an_empty_file_costs_its_end_alone(fitted):
    told = fitted.predict(Corpus((SourceFile("empty.py", b"", "x"),)))
    assert 0 < told.bits[0] < 12


def test_a_known_line_is_completed(fitted, splits):
    content = b"import os\n\ndef alpha_0(beta, count=1):\n    if beta is None:\n        return os.pa"
    gap = [Span(0, len(content), len(content), "line")]
    (told,) = fitted.complete(Corpus((SourceFile("x.py", content, "x"),)), gap)
    assert told.startswith(b"th.join(")
    assert b"\n" not in told


def test_the_cache_has_a_share_only_where_it_helps(splits, config):
    """Validation that repeats itself wants the cache."""
    floor = floors_of(config)[0]
    line = b"completely_new_identifier = another_unseen_name\n"
    same = Corpus((SourceFile("v.py", line * 60, "v"),))
    plain = floor.estimator.fit(splits, seed=0)
    repeating = floor.estimator.fit(Splits(splits.train, same, splits.test), seed=0)
    assert repeating.model.share > plain.model.share


def test_the_cache_in_a_floor_is_that_of_the_tokens_before(splits, config):
    fitted = floors_of(config)[0].estimator.fit(splits, seed=0)
    text = np.array([0, 1, 2, 1, 2, 3])
    cache = Cache(vocabulary=fitted.model.ngrams.vocabulary)
    expected = []
    for place, token in enumerate(text.tolist()):
        if place:
            expected.append(cache.probability(token))
        cache.add(token)
    share = fitted.model.share
    mixed = (1 - share) * fitted.model.ngrams.probabilities(text) + share * np.array(expected)
    np.testing.assert_allclose(fitted.model.chances(text), mixed, rtol=1e-12)
