"""Whole groups, near the shares, whatever the order of files, and nothing on two sides."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.errors import DataError
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.splitting import assign, cap, split_corpus

SHARES = (0.8, 0.05, 0.15)


def words(seed, count):
    return " ".join(random.Random(seed).choices([f"word{n}" for n in range(300)], k=count))


def file(path, text, group=None):
    return SourceFile(path, text.encode(), group or path.split("/")[0])


def jaccard(one, other):
    sets = []
    for content in (one, other):
        tokens = content.split()
        sets.append({tuple(tokens[n : n + 5]) for n in range(max(1, len(tokens) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 10**6), min_size=3, max_size=30)
WEIGHTS = st.tuples(*[st.integers(1, 20)] * 3).map(lambda weights: tuple(weight / sum(weights) for weight in weights))


@given(SIZES, WEIGHTS, st.integers(0, 9))
def test_no_part_is_empty_and_no_held_out_part_is_over_its_share_but_by_one_group(sizes, shares, seed):
    parts = assign(sizes, shares, seed)
    assert set(parts) == set(sizes)
    total = sum(sizes.values())
    for part in range(3):
        names = [name for name in parts if parts[name] == part]
        assert names
        if part:
            held = sum(sizes[name] for name in names)
            assert len(names) == 1 or (
                held <= shares[part] * total and 2 * max(map(sizes.get, names)) <= shares[part] * total
            )
    backwards = dict(reversed(sizes.items()))
    assert assign(backwards, shares, seed) == parts


def test_many_small_groups_meet_the_shares():
    draw = random.Random(0)
    sizes = {f"p{n}": int(draw.lognormvariate(9, 1.2)) for n in range(200)} | {"giant": 800_000}
    total = sum(sizes.values())
    drawn = set()
    for seed in range(10):
        parts = assign(sizes, SHARES, seed)
        for part in range(3):
            assert abs(sum(sizes[name] for name in sizes if parts[name] == part) / total - SHARES[part]) < 0.005
        assert parts["giant"] == 0
        drawn.add(frozenset(name for name in sizes if parts[name] == 2))
    assert len(drawn) == 10


@st.composite
def corpora(draw):
    """Files of several groups, among them copies and near copies across groups."""
    files = []
    for place in range(draw(st.integers(6, 14))):
        group = draw(st.sampled_from("abcdef"))
        tokens = words(draw(st.integers(0, 8)), draw(st.sampled_from([3, 60, 200]))).split()
        for _ in range(draw(st.integers(0, 2))):
            tokens[draw(st.integers(0, len(tokens) - 1))] = f"other{place}"
        files.append(file(f"{group}/{place}.py", "\n".join(tokens)))
    return Corpus(tuple(files)), draw(st.randoms(use_true_random=False))


@settings(max_examples=60)
@given(corpora(), st.integers(0, 3))
def test_nothing_is_on_two_sides(drawn, seed):
    corpus, order = drawn
    config = CompleteConfig(split="0.4,0.3,0.3", split_seed=seed)
    try:
        splits = split_corpus(corpus, config)
    except DataError:
        assert len({file.group for file in corpus.files}) < 3 or len({file.content for file in corpus.files}) < len(
            corpus
        )
        return
    parts = (splits.train, splits.validation, splits.test)
    assert all(len(part) for part in parts)
    for place, part in enumerate(parts):
        for other in parts[place + 1 :]:
            assert not {file.group for file in part.files} & {file.group for file in other.files}
            for one in part.files:
                assert all(jaccard(one.content, two.content) < 0.85 for two in other.files)
    shuffled = list(corpus.files)
    order.shuffle(shuffled)
    assert split_corpus(Corpus(tuple(shuffled)), config) == splits


def test_caps_draw_whole_files():
    files = [file(f"{n}.py", words(n, 50) + "\n") for n in range(40)]
    part = cap(files, 8000, seed=0)
    assert 7000 < part.size <= 8000
    assert set(part.files) <= set(files)
    assert [one.path for one in part.files] == sorted(one.path for one in part.files)
    assert cap(files[::-1], 8000, seed=0) == part
    assert cap(files, 8000, seed=1) != part
    assert set(cap(files, 10**6, seed=0).files) == set(files)


def test_a_file_over_an_eighth_of_the_cap_is_cut_at_a_line():
    text = "".join(f"line {n}\n" for n in range(1000))
    ((one),) = cap([file("a.py", text)], 8008, seed=0).files
    assert text.encode().startswith(one.content)
    assert one.content.endswith(b"\n")
    assert 990 <= len(one.content) <= 1001
    ((one),) = cap([file("a.py", "x" * 9000)], 8008, seed=0).files
    assert one.content == b"x" * 1001
    large = [file(f"{n}.py", words(n, 2000)) for n in range(12)]
    assert len(cap(large, 8000, seed=0)) >= 8


def test_validation_and_test_are_capped_and_training_is_not():
    files = [file(f"g{n}/a.py", words(n, 200)) for n in range(30)]
    config = CompleteConfig(split="0.4,0.3,0.3", validation_bytes=2000, test_bytes=3000)
    splits = split_corpus(Corpus(tuple(files)), config)
    assert splits.validation.size <= 2000
    assert splits.test.size <= 3000
    assert splits.train.size > 0.35 * sum(len(one.content) for one in files)


def test_too_few_groups_name_the_remedy():
    files = [file(f"src/p{n}/a.py", words(n, 50), "src") for n in range(4)]
    with pytest.raises(DataError, match="at least 3 packages to split them, got 1 at group depth 1; --group-depth 2"):
        split_corpus(Corpus(tuple(files)), CompleteConfig())
    files = [file(f"{n}.py", words(n, 50), "repo") for n in range(4)]
    with pytest.raises(DataError, match="give files of more repositories"):
        split_corpus(Corpus(tuple(files)), CompleteConfig())
    files = [file(f"src/{n}.py", words(n, 50)) for n in range(4)]
    with pytest.raises(DataError, match="--group-depth 0 splits by files"):
        split_corpus(Corpus(tuple(files)), CompleteConfig())
    with pytest.raises(DataError, match="give more files"):
        split_corpus(Corpus(tuple(files[:2])), CompleteConfig())
