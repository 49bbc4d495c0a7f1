"""The tokenizer against a trainer and an encoder in plain Python, and against transformers reading its file."""

import argparse
import ast
import json
import pickle
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.errors import ConfigError, RunError
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.tokenizer import SPECIAL_NAMES, BytePair, encode_corpus, load_tokenizer, train_tokenizer

WORDS = re.compile(
    "[\r\n]+[ \t]*|[ ]?[A-Za-z_\u0080-\U0010ffff]+|[ ]?[0-9]{1,3}|[ ]?[!-/:-@\\[-^`{-~]+"
    "|[ \t]+(?=[ ][!-~\u0080-\U0010ffff])|[\x00-\x09\x0b\x0c\x0e-\x20\x7f]+"
)
FRAGMENTS = [
    "def f(x):\n    return x",
    "\n        ",
    "<fim_prefix>",
    "<|endoftext|>",
    "été = '\u3042\U0001f600'",
    "12345",
    "\x00",
]
MIXED = st.lists(st.one_of(st.binary(max_size=12), st.sampled_from(FRAGMENTS).map(str.encode))).map(b"".join)
CODE = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(FRAGMENTS))).map("".join)


def corpus_of(*contents: bytes) -> Corpus:
    return Corpus(tuple(SourceFile(f"{place}.py", content, "g") for place, content in enumerate(contents)))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    files = [Path(module.__file__).read_bytes() for module in (argparse, ast)]
    return corpus_of(*files, "übrige = 'äöü' * 3\n".encode() * 5, bytes(range(256)) * 3)


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> BytePair:
    return train_tokenizer(corpus, 700)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=MIXED)
def test_any_bytes_survive_the_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.lengths()[ids].sum() == len(text)
    assert all(0 <= index < tokenizer.special.end for index in ids)


def test_whole_files_survive_the_round_trip(tokenizer, corpus):
    for file, ids in zip(corpus.files, encode_corpus(corpus, tokenizer), strict=True):
        assert ids.dtype == np.int32
        assert tokenizer.decode(ids.tolist()) == file.content
        assert ids.tolist() == tokenizer.encode(file.content)


def test_a_batch_larger_than_one_call_keeps_its_order(tokenizer):
    texts = [b"a" * 700_000, b"", b"b" * 700_000, b"cd"]
    batch = list(tokenizer.encode_batch(texts))
    assert [tokenizer.decode(ids.tolist()) for ids in batch] == texts
    assert list(tokenizer.encode_batch([])) == []


def test_training_merges_the_most_frequent_pairs(corpus):
    text = corpus.files[0].content[:6000].decode("latin-1")
    words = Counter(tuple(map(ord, word)) for word in WORDS.findall(text))
    merges = []
    while len(merges) < 60:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        words = Counter({merged(word, best, 256 + len(merges)): count for word, count in words.items()})
        merges.append(best)
    trained = train_tokenizer(corpus_of(text.encode("latin-1")), 256 + 60 + 5)
    assert list(trained.merges) == merges


def merged(word: tuple[int, ...], pair: tuple[int, int], made: int) -> tuple[int, ...]:
    """Return a word with a pair replaced, from the left."""
    out: list[int] = []
    for index in word:
        if out and (out[-1], index) == pair:
            out[-1] = made
        else:
            out.append(index)
    return tuple(out)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=MIXED)
def test_encoding_applies_the_merges_in_order_within_words(tokenizer, text):
    characters = text.decode("latin-1")
    words = WORDS.findall(characters)
    assert "".join(words) == characters
    expected = []
    for word in words:
        ids = tuple(map(ord, word))
        for place, pair in enumerate(tokenizer.merges):
            ids = merged(ids, pair, 256 + place)
        expected += ids
    assert tokenizer.encode(text) == expected


@pytest.mark.parametrize(
    ("pair", "together"),
    [
        (b" 1", True),
        (b" a", True),
        (b" =", True),
        (b"\n ", True),
        (b"\n\n", True),
        (b"()", True),
        (b"_a", True),
        (b"\xc3\xa9", True),
        (b"a\xc3", True),
        (b"a1", False),
        (b"1a", False),
        (b"a ", False),
        (b"a(", False),
        (b":\n", False),
        (b" \n", False),
    ],
)
def test_merges_stay_within_words(pair, together):
    merge = (pair[0], pair[1])
    assert BytePair([merge]).encode(pair) == ([256] if together else list(merge))


def test_the_last_of_several_blanks_belongs_to_the_word():
    blanks, word = (32, 32), (32, 97)
    assert BytePair([blanks, word]).encode(b"x   a") == [120, 256, 257]


def test_the_same_corpus_gives_the_same_merges(tokenizer, corpus):
    assert train_tokenizer(corpus, 700).merges == tokenizer.merges
    assert len(tokenizer) == 700
    assert tokenizer.special.end == 695


def test_a_small_corpus_gives_a_small_vocabulary():
    assert len(train_tokenizer(corpus_of(b"abab abab"), 1000)) < 270
    assert len(train_tokenizer(corpus_of(b""), 300)) == 261
    with pytest.raises(ConfigError, match="at least 262"):
        train_tokenizer(corpus_of(b"abab"), 261)


def test_two_merges_to_the_same_bytes_are_one_id():
    tokenizer = BytePair([(97, 98), (98, 99), (256, 99), (97, 257), (258, 258)])
    assert len(tokenizer) == 256 + 4 + 5
    assert tokenizer.lengths()[256:260].tolist() == [2, 2, 3, 6]
    assert tokenizer.decode(tokenizer.encode(b"abcabcab")) == b"abcabcab"
    assert BytePair.from_text(tokenizer.to_text()).merges == tokenizer.merges


def test_the_text_form_is_short_and_exact(tokenizer):
    text = tokenizer.to_text()
    assert set(text) <= {chr(code) for code in range(ord("!"), ord("~") + 1)}
    assert len(text) < 10 * len(tokenizer.merges)
    again = BytePair.from_text(text)
    assert again.merges == tokenizer.merges
    assert again.encode(b"def f(self):\n") == tokenizer.encode(b"def f(self):\n")


def test_a_damaged_text_form_is_refused(tokenizer):
    text = tokenizer.to_text()
    for place in range(0, len(text), 97):
        changed = "A" if text[place] != "A" else "B"
        with pytest.raises(ConfigError):
            BytePair.from_text(text[:place] + changed + text[place + 1 :])
    for broken in (text[:-4], text[:-1], text + "AAAA", "", "bpe1:", "bpe2:" + text[5:], "bpe1:é"):
        with pytest.raises(ConfigError):
            BytePair.from_text(broken)


@pytest.mark.parametrize("merges", [[(97, 256)], [(-1, 97)], [(97, 98), (257, 97)]])
def test_merges_of_ids_that_are_not_there_are_refused(merges):
    with pytest.raises(ConfigError, match="merges of ids below"):
        BytePair(merges)


@pytest.fixture(scope="module")
def peer(tokenizer, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("peer") / "tokenizer.json"
    path.write_text(tokenizer.to_json(), encoding="utf-8")
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=CODE)
def test_transformers_reads_the_json_and_gives_the_same_ids(tokenizer, peer, text):
    ids = tokenizer.encode(text.encode())
    assert peer.encode(text, add_special_tokens=False, split_special_tokens=True) == ids
    assert peer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_transformers_knows_the_special_tokens(tokenizer, peer, corpus):
    special = tokenizer.special
    ids = [special.end, special.prefix, special.suffix, special.middle, special.pad]
    assert peer.convert_tokens_to_ids(list(SPECIAL_NAMES)) == ids
    assert len(peer) == len(tokenizer)
    assert peer.encode(corpus.files[1].content.decode()) == tokenizer.encode(corpus.files[1].content)


def test_it_is_loaded_from_a_run_and_from_a_file(tokenizer, tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    assert load_tokenizer(tmp_path / "tokenizer.json").merges == tokenizer.merges
    (tmp_path / "config.json").write_text(json.dumps({"config": {"tokenizer": tokenizer.to_text()}}))
    assert load_tokenizer(tmp_path).merges == tokenizer.merges


def test_what_holds_no_tokenizer_is_refused(tokenizer, tmp_path):
    with pytest.raises(RunError, match="run folder or a tokenizer"):
        load_tokenizer(tmp_path / "absent")
    (tmp_path / "config.json").write_text(json.dumps({"config": {}}))
    with pytest.raises(ConfigError, match="a tokenizer in its config"):
        load_tokenizer(tmp_path)
    foreign = json.loads(tokenizer.to_json())
    foreign["pre_tokenizer"] = None
    file = tmp_path / "tokenizer.json"
    for content in (
        b"\xff\xfe",
        b"{}",
        b"[]",
        b'{"model": {"vocab": {"a": 0}, "merges": [["a", "b"]]}}',
        json.dumps(foreign).encode(),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError):
            load_tokenizer(file)


def test_it_is_picklable(tokenizer):
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode("naïve".encode()) == tokenizer.encode("naïve".encode())
