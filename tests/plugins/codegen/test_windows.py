"""Windows against the ids that they were cut from: nothing is lost or met twice, targets are what comes next."""

import argparse
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.errors import ConfigError, IncompatibleError
from omniform.training.sampler import Batches, StepSampler, read_items
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.tokenizer import BytePair, encode_corpus, train_tokenizer
from omniform_codegen.vocabulary import SpecialTokens
from omniform_codegen.windows import UNCOUNTED, ScoringWindows, TrainingWindows

FILES = st.lists(st.binary(max_size=60), min_size=1, max_size=5)
PLAIN = BytePair([])  # ids are bytes


def corpus_of(*contents: bytes) -> Corpus:
    return Corpus(tuple(SourceFile(f"{place}.py", content, "g") for place, content in enumerate(contents)))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_of(Path(argparse.__file__).read_bytes(), b"x = 1\n", "größe = 2\n".encode() * 30)


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> BytePair:
    return train_tokenizer(corpus, 500)


def stream_of(corpus: Corpus, tokenizer: BytePair) -> list[int]:
    end = tokenizer.special.end
    return [end] + [index for ids in encode_corpus(corpus, tokenizer) for index in [*ids.tolist(), end]]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(contents=FILES, context=st.integers(2, 40))
def test_scoring_counts_each_token_of_each_file_once(contents, context):
    corpus = corpus_of(*contents)
    windows = ScoringWindows(corpus, PLAIN, context=context)
    end = PLAIN.special.end
    counted: list[list[int]] = [[] for _ in contents]
    for index in range(len(windows)):
        ids, targets, place = windows[index]
        assert ids.shape == targets.shape == (context,)
        assert ids.dtype == targets.dtype == torch.int64
        file = [end, *contents[place], end]
        for where in np.flatnonzero(targets.numpy() != UNCOUNTED).tolist():
            done = len(counted[place])
            assert targets[where] == file[done + 1]
            seen = min(where + 1, done + 1)
            assert ids[where + 1 - seen : where + 1].tolist() == file[done + 1 - seen : done + 1]
            assert seen >= min(done + 1, context // 2)  # all of the file before it, or half a context
            counted[place].append(int(targets[where]))
    assert counted == [[*content, end] for content in contents]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(contents=FILES, context=st.integers(2, 40))
def test_training_without_infilling_meets_each_token_once(contents, context):
    corpus = corpus_of(*contents)
    windows = TrainingWindows(corpus, PLAIN, context=context, infill=0)
    stream = stream_of(corpus, PLAIN)
    items = [windows[index] for index in range(len(windows))]
    targets = torch.cat([target for _, target in items])
    counted = targets != UNCOUNTED
    assert targets[counted].tolist() == stream[1:]
    assert torch.cat([ids for ids, _ in items])[counted].tolist() == stream[:-1]
    assert all(ids.shape == target.shape == (context,) for ids, target in items)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(contents=FILES, context=st.integers(20, 60), seed=st.integers(0, 1000))
def test_infilling_moves_the_middle_of_the_longest_piece(contents, context, seed):
    corpus = corpus_of(*contents)
    plain = TrainingWindows(corpus, PLAIN, context=context, infill=0)
    mixed = TrainingWindows(corpus, PLAIN, context=context, infill=1)
    special = PLAIN.special
    torch.manual_seed(seed)
    for index in range(len(plain)):
        ids, targets = mixed[index]
        assert ids.shape == targets.shape == (context,)
        following = torch.cat([ids[1:], targets[-1:]])
        asked = targets != UNCOUNTED
        assert torch.equal(targets[asked], following[asked])
        assert not np.isin(targets, [special.prefix, special.suffix, special.middle, special.pad]).any()
        whole = [*plain[index][0].tolist(), int(plain[index][1][-1])]
        whole = [token for token in whole if token not in (special.pad, UNCOUNTED)]
        told = [token for token in [*ids.tolist(), int(targets[-1])] if token not in (special.pad, UNCOUNTED)]
        pieces = bytes_between(whole, special.end)
        longest = max(pieces, key=len)
        assert (special.prefix in told) == (len(longest) >= 16)
        if special.prefix in told:
            start = told.index(special.prefix)
            assert told[:start] == whole[:start]
            filled = told[start : told.index(special.end, start)] if special.end in told[start:] else told[start:]
            lost = len(longest) - (len(filled) - 3)
            cut = not whole[start + len(longest) :]
            assert told.count(special.end) == whole.count(special.end) + cut  # each document is closed once
            assert lost <= 4  # what the special tokens take, the end token included where the window cuts the piece
            left = Counter(longest)
            left.subtract(token for token in filled if token < 256)
            assert min(left.values()) >= 0  # nothing came from elsewhere


def bytes_between(ids: list[int], end: int) -> list[list[int]]:
    pieces: list[list[int]] = [[]]
    for token in ids:
        if token == end:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def test_a_transformed_window_reads_as_the_document(corpus, tokenizer):
    windows = TrainingWindows(corpus, tokenizer, context=64, infill=1)
    special = tokenizer.special
    torch.manual_seed(0)
    orders = []
    for index in range(40):
        ids, targets = windows[index]
        ids = [*ids.tolist(), int(targets[-1])]
        original = tokenizer.decode(windows.stream[index * 64 : index * 64 + 65].tolist())
        start, middle = ids.index(special.suffix), ids.index(special.middle)
        prefix = tokenizer.decode(ids[:start])
        suffix, rest = tokenizer.decode(ids[start + 1 : middle]), tokenizer.decode(ids[middle + 1 :])
        together = prefix + rest + suffix
        assert together == original[: len(together)] or not suffix
        assert (
            len(tokenizer.encode(original[len(together) :])) <= 16
        )  # 4 for special tokens, some for tokens cut in two
        orders.append(ids.index(special.suffix) == ids.index(special.prefix) + 1)
        assert special.end in ids[middle + 1 :]  # a middle says where it ends though the window cut its document
    assert 8 < sum(orders) < 32


def test_about_the_asked_share_is_transformed(corpus, tokenizer):
    windows = TrainingWindows(corpus, tokenizer, context=32, infill=0.3)
    torch.manual_seed(0)
    moved = [bool((windows[index % len(windows)][0] == tokenizer.special.prefix).any()) for index in range(1500)]
    assert np.mean(moved) == pytest.approx(0.3, abs=0.04)


def test_batches_resume_exactly(corpus, tokenizer):
    windows = TrainingWindows(corpus, tokenizer, context=32, infill=0.5)
    sampler = StepSampler(len(windows), batch_size=4, seed=3)
    batches = list(islice(Batches(windows, sampler), 5))
    torch.manual_seed(77)
    resumed = list(islice(Batches(windows, sampler, start=3), 2))
    for (ids, targets), (ids_again, targets_again) in zip(batches[3:], resumed, strict=True):
        assert ids.shape == targets.shape == (4, 32)
        assert torch.equal(ids, ids_again)
        assert torch.equal(targets, targets_again)


def test_scoring_windows_collate_with_their_places(corpus, tokenizer):
    windows = ScoringWindows(corpus, tokenizer, context=64)
    ids, targets, places = read_items(windows, [0, len(windows) - 1])
    assert ids.shape == targets.shape == (2, 64)
    assert places.dtype == torch.int64
    assert places.tolist() == [0, 2]
    assert torch.equal(windows[-1][0], ids[1])
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_scoring_costs_at_most_twice_the_tokens(corpus, tokenizer):
    windows = ScoringWindows(corpus, tokenizer, context=64)
    assert len(windows) * 64 < 2.1 * len(windows.stream) + 64 * len(corpus)


def test_ids_are_held_once_and_small(corpus, tokenizer):
    windows = TrainingWindows(corpus, tokenizer, context=32, infill=0.5)
    assert windows.stream.dtype == np.int32
    assert len(windows.stream) == len(stream_of(corpus, tokenizer))


def test_windows_are_picklable(corpus, tokenizer):
    for windows in (
        TrainingWindows(corpus, tokenizer, context=32, infill=0.5),
        ScoringWindows(corpus, tokenizer, context=32),
    ):
        again = pickle.loads(pickle.dumps(windows))
        torch.manual_seed(1)
        expected = windows[2]
        torch.manual_seed(1)
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(again[2], expected, strict=True))


def test_what_cannot_be_cut_is_refused(corpus, tokenizer):
    with pytest.raises(ConfigError, match="context of at least 2"):
        ScoringWindows(corpus, tokenizer, context=1)
    with pytest.raises(ConfigError, match="got none"):
        TrainingWindows(Corpus(()), tokenizer, context=16, infill=0)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        TrainingWindows(corpus, tokenizer, context=16, infill=1.5)

    class Plain(BytePair):
        @property
        def special(self):
            return SpecialTokens(end=256)

    with pytest.raises(IncompatibleError, match="infill 0"):
        TrainingWindows(corpus, Plain([]), context=16, infill=0.5)
    ids, targets = TrainingWindows(corpus_of(b"abc"), Plain([]), context=6, infill=0)[0]
    assert ids.tolist() == [256, *b"abc", 256, 256]
    assert targets.tolist() == [*b"abc", 256, UNCOUNTED, UNCOUNTED]
