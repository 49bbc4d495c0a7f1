"""Copies are found by hashes; the index itself is checked against sets."""

import random

from omniform_codegen.duplicates import find_copies, similarity

WORDS = [f"word{n}" for n in range(400)]


def text(seed, words=300):
    return random.Random(seed).choices(WORDS, k=words)


def encoded(words):
    return " ".join(words).encode()


def jaccard(one, other):
    first, second = ({tuple(words[n : n + 5]) for n in range(len(words) - 4)} for words in (one, other))
    return len(first & second) / len(first | second)


def changed(words, places):
    return [f"other{n}" if n in places else word for n, word in enumerate(words)]


def test_similarity_is_the_jaccard_index_of_runs_of_words():
    one = text(1)
    for places in ({0}, {100, 200}, set(range(0, 300, 40)), set(range(300))):
        other = changed(one, places)
        assert similarity(encoded(one), encoded(other)) == jaccard(one, other)
    assert similarity(b"a b", b"a  b\n") == 1
    assert similarity(b"a b", b"a c") == 0
    assert similarity(b"+ -", b"+\t-") == 1
    assert similarity(b"+ -", b"- +") == 0


def test_exact_and_near_copies_point_to_the_first():
    one = text(2)
    files = [one, text(3), one, changed(one, {150}), changed(one, set(range(0, 300, 9))), text(4)]
    assert jaccard(one, files[3]) > 0.9
    assert jaccard(one, files[4]) < 0.5
    assert find_copies([encoded(words) for words in files]) == {2: 0, 3: 0}
    assert find_copies([b"x = 1\n", b"x  =  1", b"", b" \n", b"y"]) == {1: 0, 3: 2}


def test_nearly_all_near_copies_are_found_and_no_others():
    found = missed = 0
    for seed in range(150):
        one = text(seed, 120)
        other = changed(one, set(random.Random(-seed - 1).sample(range(120), random.Random(seed).randint(1, 3))))
        is_copy = find_copies([encoded(one), encoded(other)]) == {1: 0}
        assert is_copy <= (jaccard(one, other) >= 0.85)
        found += is_copy
        missed += jaccard(one, other) >= 0.85 and not is_copy
    assert missed == 0
    assert found > 50


def test_what_is_left_are_no_copies_of_each_other():
    """In a chain of small changes its ends differ, so that more than the first may stay."""
    chain = [text(5)]
    for step in range(20):
        chain.append(changed(chain[-1], {step * 15}))
    copies = find_copies([encoded(words) for words in chain])
    left = [place for place in range(len(chain)) if place not in copies]
    assert len(left) > 1
    assert set(copies.values()) <= set(left)
    assert all(jaccard(chain[a], chain[b]) < 0.85 for a in left for b in left if a < b)
