"""Generation against a loop that runs the whole sequence for every token."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from omniform.errors import ConfigError
from omniform.mixers import Attention, DeltaNet, GatedLinearAttention, Mamba
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_codegen import prefill
from omniform_codegen.generation import Completion, Piece, Sampling, generate, stream
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import CausalModel, causal_model
from omniform_codegen.sampling import distribution, draw
from omniform_codegen.vocabulary import SpecialTokens

MIXERS: list[type[Mixer]] = [Attention, Mamba, GatedLinearAttention, DeltaNet]
END, PAD = 13, 12


class _Letters:
    """Ids 0 to 11 are the letters from "a"; then a pad, the end and, if asked for, a beginning."""

    def __init__(self, begin: bool = False) -> None:
        self.special = SpecialTokens(end=END, pad=PAD, begin=14 if begin else None)

    def __len__(self) -> int:
        return 15

    def encode(self, text: bytes) -> list[int]:
        return [byte - 97 for byte in text]

    def decode(self, ids: Sequence[int]) -> bytes:
        return bytes(97 + id for id in ids if id < PAD)

    def lengths(self) -> np.ndarray:
        return np.array([1] * 12 + [0, 0, 0])


def _language(
    mixer: type[Mixer] = Attention, *, context: int = 64, dropout: float = 0.0, **options: Any
) -> LanguageModel:
    torch.manual_seed(0)
    size = Size(dim=32, depth=2, hidden=48)
    model = causal_model(mixer, size, vocabulary=16, context=context, dropout=dropout)
    model.head = nn.Linear(32, 16, bias=False)  # tied to the embedding, an untrained model repeats its last token
    nn.init.normal_(model.head.weight, std=0.3)
    return LanguageModel(model.double().eval(), _Letters(**options), "tiny", context)


def _prompts(*lengths: int) -> list[list[int]]:
    draw = np.random.default_rng(1)
    return [draw.integers(0, 12, length).tolist() for length in lengths]


@torch.no_grad()
def _by_hand(language: LanguageModel, prompt: Sequence[int], sampling: Sampling, row: int) -> Completion:
    """Run everything anew for each token; no stop strings."""
    ids, tokens, told = list(prompt), [], []
    numbers = np.random.default_rng((sampling.seed, row))
    while len(tokens) < sampling.max_tokens:
        logits = language.model(torch.tensor([ids]))[:, -1]
        seen = torch.zeros(1, 15, dtype=torch.bool)
        seen[0, ids] = True
        allowed = logits[:, :15].index_fill(1, torch.tensor([PAD, 14]), -torch.inf)
        chances = distribution(allowed, sampling, seen)
        greedy = sampling.temperature == 0
        token = int(chances.argmax()) if greedy else int(draw(chances, torch.tensor([numbers.random()]).double()))
        if token == END:
            return Completion(language.tokenizer.decode(tokens), tuple(tokens), tuple(told), "end")
        ids.append(token)
        tokens.append(token)
        told.append(float(logits[0].float().softmax(-1)[token]))
    return Completion(language.tokenizer.decode(tokens), tuple(tokens), tuple(told), "length")


def _same(ours: Sequence[Completion], theirs: Sequence[Completion]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert (a.text, a.tokens, a.ended) == (b.text, b.tokens, b.ended)
        assert a.probabilities == pytest.approx(b.probabilities, rel=1e-5)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=7),
        Sampling(max_tokens=12, temperature=1.2, seed=5),
        Sampling(max_tokens=12, temperature=0.9, top_k=6, top_p=0.9, repetition=1.2),
    ],
    ids=["greedy", "warm", "cut"],
)
def test_ragged_prompts_together_are_each_as_if_alone(
    mixer: type[Mixer], sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefill, "_CHUNK", 8)
    language, prompts = _language(mixer), _prompts(3, 19, 1, 8, 16)
    expected = [_by_hand(language, prompt, sampling, row) for row, prompt in enumerate(prompts)]
    for batch in (16, 2):
        _same(generate(language, prompts, sampling, batch=batch), expected)


def test_prompts_are_read_in_chunks_without_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    language, prompts, sizes = _language(), _prompts(50, 40, 45), []
    expected = generate(language, prompts, Sampling(max_tokens=4))
    monkeypatch.setattr(prefill, "_CHUNK", 7)
    logits = CausalModel.logits
    monkeypatch.setattr(
        CausalModel, "logits", lambda self, hidden: sizes.append(hidden.shape[:-1].numel()) or logits(self, hidden)
    )
    _same(generate(language, prompts, Sampling(max_tokens=4)), expected)
    assert max(sizes) == len(prompts)


def test_sequences_end_at_different_times_and_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    language, sizes = _language(), []
    extend = CausalModel.extend
    monkeypatch.setattr(
        CausalModel, "extend", lambda self, ids, *rest: sizes.append(len(ids)) or extend(self, ids, *rest)
    )
    completions = generate(language, _prompts(*[4] * 8), Sampling(temperature=1.5, max_tokens=30))
    assert len({len(completion.tokens) for completion in completions}) > 3
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 3


@pytest.mark.parametrize("mixer", [Attention, Mamba])
def test_streaming_gives_what_generating_gives(mixer: type[Mixer]) -> None:
    language, (prompt,) = _language(mixer), _prompts(9)
    free = generate(language, [prompt], Sampling(temperature=1.0, max_tokens=30, seed=2))[0]
    for stop in ((), (free.text[4:7],), (b"zz", free.text[6:7])):
        sampling = Sampling(temperature=1.0, max_tokens=30, seed=2, stop=stop)
        (whole,), pieces = generate(language, [prompt], sampling), list(stream(language, prompt, sampling))
        assert b"".join(piece.text for piece in pieces) == whole.text
        assert tuple(piece.token for piece in pieces) == whole.tokens
        assert tuple(piece.probability for piece in pieces) == whole.probabilities
        if stop:
            assert whole.ended == "stop"
            assert whole.text == free.text[: min(free.text.find(each) for each in stop if each in free.text)]


def test_pieces_are_told_as_they_settle() -> None:
    language, prompts, told = _language(), _prompts(5, 2, 9), list[tuple[int, Piece]]()
    completions = generate(
        language, prompts, Sampling(max_tokens=6), on_token=lambda row, piece: told.append((row, piece))
    )
    for row, completion in enumerate(completions):
        assert tuple(piece.token for place, piece in told if place == row) == completion.tokens
    assert {row for row, _ in told[:3]} == {0, 1, 2}


def test_an_empty_prompt_is_the_token_that_opens_a_document() -> None:
    sampling = Sampling(max_tokens=5)
    for begin, opening in ((False, END), (True, 14)):
        language = _language(begin=begin)
        _same(generate(language, [[]], sampling), [_by_hand(language, [opening], sampling, 0)])


def test_of_a_long_prompt_the_end_is_kept_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    language, prompts, sampling = _language(context=20), _prompts(50, 3, 40), Sampling(max_tokens=6)
    with caplog.at_level(logging.WARNING):
        completions = generate(language, prompts, sampling)
    kept = [prompts[0][-14:], prompts[1], prompts[2][-14:]]
    _same(completions, [_by_hand(language, prompt, sampling, row) for row, prompt in enumerate(kept)])
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 3 prompts were longer than 14 tokens: their ends were kept"
    ]


def test_the_beginning_of_a_checkpoint_stays_before_what_is_kept() -> None:
    language, (prompt,), sampling = _language(context=20, begin=True), _prompts(50), Sampling(max_tokens=6)
    expected = _by_hand(language, [14, *prompt[-13:]], sampling, 0)
    _same(generate(language, [[14, *prompt]], sampling), [expected])


def test_nothing_is_generated_beyond_the_context(caplog: pytest.LogCaptureFixture) -> None:
    language = _language(context=20)
    completions = generate(language, _prompts(4, 30), Sampling(max_tokens=100, repetition=0.9))
    assert [(len(completion.tokens), completion.ended) for completion in completions] == [
        (16, "length"),
        (10, "length"),
    ]
    assert "a context of 20 leaves room for 10 tokens of 100" in caplog.text


def test_dropout_is_off_while_generating_and_back_on_behind() -> None:
    language, prompts, sampling = _language(dropout=0.5), _prompts(5), Sampling(max_tokens=8)
    expected = generate(language, prompts, sampling)
    language.model.train()
    language.model.backbone.layers[0].eval()
    _same(generate(language, prompts, sampling), expected)
    pieces = stream(language, prompts[0], sampling)
    assert [piece.token for piece in islice(pieces, 3)] == list(expected[0].tokens[:3])
    assert torch.is_grad_enabled()
    pieces.close()  # type: ignore[attr-defined]
    assert language.model.training
    assert language.model.backbone.layers[1].training
    assert not language.model.backbone.layers[0].training


def test_generating_leaves_the_model_fit_for_training() -> None:
    language = _language()
    generate(language, _prompts(5), Sampling(max_tokens=3))
    language.model(torch.tensor([_prompts(5)[0]])).square().sum().backward()
    assert language.model.stem.weight.grad is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"repetition": 0.0}, "repetition"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": -1}, "seed"),
        ({"stop": (b"",)}, "stop"),
        ({"stop": b"\n"}, "stop"),
        ({"stop": ("\n",)}, "stop"),
    ],
)
def test_sampling_refuses_what_makes_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Sampling(**options)


def test_no_prompts_give_no_completions_and_no_batch_is_refused() -> None:
    language = _language()
    assert generate(language, [], Sampling()) == []
    with pytest.raises(ConfigError, match="at least 1"):
        generate(language, _prompts(3), Sampling(), batch=0)
