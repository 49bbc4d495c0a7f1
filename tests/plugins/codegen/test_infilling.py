"""Prompts and transformed documents, with a tokenizer whose ids are bytes, so that every id can be told by eye."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.errors import ConfigError, IncompatibleError
from omniform_codegen.infilling import (
    CODE_LLAMA,
    DEEPSEEK_CODER,
    FORMATS,
    OURS,
    QWEN_CODER,
    STAR_CODER,
    continuation,
    find_format,
    prompt,
    transform,
)
from omniform_codegen.vocabulary import SpecialTokens

END, PRE, SUF, MID, PAD, BEGIN = range(256, 262)
SPECIAL = SpecialTokens(end=END, prefix=PRE, suffix=SUF, middle=MID, pad=PAD)


@dataclass
class Bytes:
    """Ids 0 to 255 are bytes."""

    special: SpecialTokens = SPECIAL

    def __len__(self):
        return 262

    def encode(self, text):
        return list(text)

    def decode(self, ids):
        return bytes(index for index in ids if index < 256)

    def lengths(self):
        return np.array([1] * 256 + [0] * 6)


def parted(ids):
    """Return prefix, middle and suffix, and the order; of an spm document its middle with the prefix before it."""
    *ids, end = ids
    assert (ids[0], end) == (PRE, END)
    suffix, middle = ids.index(SUF), ids.index(MID)
    text = bytes(ids[1:suffix]), bytes(ids[middle + 1 :]), bytes(ids[suffix + 1 : middle])
    return text, "spm" if suffix == 1 else "psm"


def test_a_prompt_in_either_order():
    assert prompt(b"ab", b"yz", Bytes(), limit=99) == [PRE, *b"ab", SUF, *b"yz", MID]
    assert prompt(b"ab", b"yz", Bytes(), OURS.ordered("spm"), limit=99) == [PRE, SUF, *b"yz", MID, *b"ab"]


def test_a_prompt_of_a_model_that_wants_a_begin_token():
    special = SpecialTokens(end=END, prefix=PRE, suffix=SUF, middle=MID, begin=BEGIN)
    assert prompt(b"ab", b"yz", Bytes(special), limit=99) == [BEGIN, PRE, *b"ab", SUF, *b"yz", MID]
    assert prompt(b"abcd", b"yz", Bytes(special), limit=6)[:2] == [BEGIN, PRE]


def test_code_llama_has_a_blank_before_its_prefix_only():
    assert prompt(b"ab", b"yz", Bytes(), CODE_LLAMA, limit=99) == [PRE, *b" ab", SUF, *b"yz", MID]
    spm = prompt(b"ab", b"yz", Bytes(), CODE_LLAMA.ordered("spm"), limit=99)
    assert spm == [PRE, SUF, *b"yz", MID, *b" ab"]
    assert prompt(b"", b"yz", Bytes(), CODE_LLAMA, limit=99) == [PRE, SUF, *b"yz", MID]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(before=st.integers(0, 40), behind=st.integers(0, 40), limit=st.integers(3, 60))
def test_a_prompt_fills_its_budget_with_what_is_nearest(before, behind, limit):
    prefix, suffix = bytes(range(before)), bytes(range(100, 100 + behind))
    ids = prompt(prefix, suffix, Bytes(), limit=limit)
    assert len(ids) == min(limit, before + behind + 3)
    left, right = ids[1 : ids.index(SUF)], ids[ids.index(SUF) + 1 : -1]
    assert bytes(left) == prefix[before - len(left) :]
    assert bytes(right) == suffix[: len(right)]
    assert len(left) >= min(before, 0.75 * (limit - 3))
    assert len(right) >= min(behind, int(0.25 * (limit - 3)))


def test_a_prompt_without_room_or_tokens_is_refused():
    with pytest.raises(ConfigError, match="at least 3"):
        prompt(b"", b"", Bytes(), limit=2)
    with pytest.raises(IncompatibleError, match="filling in the middle"):
        prompt(b"", b"", Bytes(SpecialTokens(end=END)), limit=9)


def test_a_continuation_starts_a_document_only_where_it_does():
    assert continuation(b"abc", Bytes(), limit=4) == [END, *b"abc"]
    assert continuation(b"abc", Bytes(), limit=3) == [*b"abc"]
    assert continuation(b"abc", Bytes(), limit=2) == [*b"bc"]
    assert continuation(b"", Bytes(), limit=2) == [END]
    assert continuation(b"abc", Bytes(SpecialTokens(end=END, begin=BEGIN)), limit=3) == [BEGIN, *b"bc"]
    with pytest.raises(ConfigError, match="at least 1"):
        continuation(b"abc", Bytes(), limit=0)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(document=st.binary(max_size=30), seed=st.integers(0, 1000))
def test_a_transformed_document_can_be_put_together_again(document, seed):
    ids = transform(document, Bytes(), generator=torch.Generator().manual_seed(seed))
    (prefix, middle, suffix), _ = parted(ids)
    assert prefix + middle + suffix == document
    assert ids == transform(document, Bytes(), generator=torch.Generator().manual_seed(seed))


def test_orders_are_even_and_cuts_uniform():
    generator = torch.Generator().manual_seed(0)
    document = bytes(range(8))
    orders, cuts = [], np.zeros((9, 9))
    for _ in range(4000):
        (prefix, middle, _), order = parted(transform(document, Bytes(), generator=generator))
        orders.append(order)
        if prefix:
            cuts[len(prefix), len(prefix) + len(middle)] += 1
    # a psm document without a prefix reads like spm: 1 / 2 of orders, and 1 - (8 / 9)^2 of the rest
    assert np.mean([order == "spm" for order in orders]) == pytest.approx(0.5 + 0.5 * (1 - (8 / 9) ** 2), abs=0.03)
    inner = cuts[1:, 1:]
    off = inner[np.triu_indices(8, 1)]
    assert off.mean() == pytest.approx(4000 / 2 * 2 / 81, rel=0.05)  # both ways round
    assert np.diag(inner).mean() == pytest.approx(4000 / 2 / 81, rel=0.15)
    assert (np.abs(off - off.mean()) < 4 * off.mean() ** 0.5).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(document=st.binary(max_size=30), room=st.integers(4, 40), seed=st.integers(0, 1000))
def test_what_has_no_room_is_dropped_from_the_suffix_first(document, room, seed):
    whole = transform(document, Bytes(), generator=torch.Generator().manual_seed(seed))
    ids = transform(document, Bytes(), generator=torch.Generator().manual_seed(seed), room=room)
    assert len(ids) == min(room, len(whole))
    (prefix, middle, suffix), order = parted(ids)
    (all_prefix, all_middle, all_suffix), whole_order = parted(whole)
    assert all_suffix.startswith(suffix)
    if suffix:
        assert (prefix, middle, order) == (all_prefix, all_middle, whole_order)
    if whole_order == "psm":
        assert all_prefix.endswith(prefix)
        assert all_middle.startswith(middle)
        assert not prefix or middle == all_middle


def test_a_document_needs_room_for_the_special_tokens():
    with pytest.raises(ConfigError, match="at least 4"):
        transform(b"abc", Bytes(), room=3)


def test_the_names_of_tokens_are_the_publishers():
    assert (STAR_CODER.prefix, STAR_CODER.suffix, STAR_CODER.middle, STAR_CODER.pad, STAR_CODER.ends[0]) == (
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        "<fim_pad>",
        "<|endoftext|>",
    )
    assert (QWEN_CODER.prefix, QWEN_CODER.suffix, QWEN_CODER.middle, QWEN_CODER.pad, QWEN_CODER.ends[0]) == (
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        "<|fim_pad|>",
        "<|endoftext|>",
    )
    bar, low = "\uff5c", "\u2581"
    assert DEEPSEEK_CODER.prefix == f"<{bar}fim{low}begin{bar}>"
    assert DEEPSEEK_CODER.suffix == f"<{bar}fim{low}hole{bar}>"
    assert DEEPSEEK_CODER.middle == f"<{bar}fim{low}end{bar}>"
    assert DEEPSEEK_CODER.ends[0] == f"<{bar}end{low}of{low}sentence{bar}>"
    assert [CODE_LLAMA.prefix, CODE_LLAMA.suffix, CODE_LLAMA.middle, CODE_LLAMA.ends[0]] == [
        f"{low}<{name}>" for name in ("PRE", "SUF", "MID", "EOT")
    ]


def test_code_llama_s_names_are_those_of_transformers():
    code_llama = pytest.importorskip("transformers.models.code_llama.tokenization_code_llama")
    peer = code_llama.CodeLlamaTokenizer()
    names = (peer.prefix_token, peer.suffix_token, peer.middle_token, peer.eot_token)
    assert (CODE_LLAMA.prefix, CODE_LLAMA.suffix, CODE_LLAMA.middle, CODE_LLAMA.ends[0]) == names


def test_a_vocabulary_tells_its_format():
    for form in FORMATS.values():
        names = {form.prefix, form.suffix, form.middle, "x"}
        assert find_format(names) == (STAR_CODER if form is OURS else form)
        assert find_format(names - {form.middle}) is None
