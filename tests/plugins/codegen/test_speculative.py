"""Drafts change how fast tokens come, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import product
from math import isnan
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.channel import extract, sample_granularity
from omniform.layers import LayerState
from omniform.mixers import Attention, DeltaNet, GatedLinearAttention, Mamba
from omniform.mixers.base import Mixer
from omniform.task import Size
from omniform_codegen.generation import Sampling, generate, stream
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import CausalModel, causal_model
from omniform_codegen.sampling import distribution
from omniform_codegen.speculative import Acceptance
from omniform_codegen.vocabulary import SpecialTokens

MIXERS: list[type[Mixer]] = [Attention, Mamba, GatedLinearAttention, DeltaNet]


class _Digits:
    """All ids but the last are a digit's bytes; the last one ends."""

    def __init__(self, size: int) -> None:
        self.special = SpecialTokens(end=size - 1)
        self._size = size

    def __len__(self) -> int:
        return self._size

    def encode(self, text: bytes) -> list[int]:
        return [byte - 48 for byte in text]

    def decode(self, ids: Sequence[int]) -> bytes:
        return bytes(48 + id for id in ids if id < self._size - 1)

    def lengths(self) -> np.ndarray:
        return np.array([1] * (self._size - 1) + [0])


def _model(
    mixer: type[Mixer] = Attention, *, seed: int = 0, vocabulary: int = 10, dim: int = 32, depth: int = 2
) -> CausalModel:
    torch.manual_seed(seed)
    size = Size(dim=dim, depth=depth, hidden=64)
    model = causal_model(mixer, size, vocabulary=vocabulary, context=64, channel="matformer")
    model.head = nn.Linear(dim, vocabulary, bias=False)  # tied to the embedding it would repeat the last token
    nn.init.normal_(model.head.weight, std=1.5 * dim**-0.5)
    return model.double().eval()


def _language(model: CausalModel, size: int = 10) -> LanguageModel:
    return LanguageModel(model, _Digits(size), "tiny", 64)


PROMPTS = [[1, 2, 3, 4], [5]]


@pytest.mark.parametrize("proposals", [1, 4])
@pytest.mark.parametrize("mixer", MIXERS)
def test_greedy_tokens_are_exactly_the_targets(mixer: type[Mixer], proposals: int) -> None:
    model = _model(mixer)
    drafts = {"nested": extract(model, 1 / 4), "other": _model(GatedLinearAttention, seed=1, vocabulary=13, depth=1)}
    for sampling in (Sampling(max_tokens=14), Sampling(max_tokens=9, repetition=1.5)):
        expected = generate(_language(model), PROMPTS, sampling)
        for draft in drafts.values():
            acceptance = Acceptance()
            options = {"draft": draft, "proposals": proposals, "acceptance": acceptance}
            ours = generate(_language(model), PROMPTS, sampling, **options)
            assert [(c.tokens, c.text, c.ended) for c in ours] == [(c.tokens, c.text, c.ended) for c in expected]
            for a, b in zip(ours, expected, strict=True):
                assert a.probabilities == pytest.approx(b.probabilities, rel=1e-5)
            assert 0 <= acceptance.accepted <= acceptance.tested
            assert acceptance.tested - acceptance.accepted <= acceptance.passes


@pytest.mark.parametrize("mixer", [Attention, Mamba])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_model_itself_as_a_draft_is_always_accepted(mixer: type[Mixer], temperature: float) -> None:
    model, acceptance = _model(mixer), Acceptance()
    sampling = Sampling(temperature=temperature, max_tokens=17)
    (completion,) = generate(_language(model), PROMPTS[:1], sampling, draft=model, proposals=4, acceptance=acceptance)
    assert acceptance.rate == 1
    assert acceptance.passes == -(-(len(completion.tokens) + (completion.ended == "end")) // 5)


class _Chain(CausalModel):
    """Know the logits behind each token, whatever stands before."""

    def __init__(self, table: Tensor) -> None:
        nn.Module.__init__(self)
        self.stem, self.head = nn.Embedding(*table.shape), None
        self.table = table

    def init_state(self, batch: int) -> LayerState:
        return LayerState(())

    def extend(self, ids: Tensor, state: LayerState, mask: Tensor | None = None) -> tuple[Tensor, LayerState]:
        return self.table[ids], state


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=1.0, max_tokens=3), Sampling(temperature=1.5, top_k=3, repetition=1.3, max_tokens=3)],
    ids=["plain", "cut"],
)
def test_sampled_tokens_have_the_targets_distribution(sampling: Sampling) -> None:
    count, generator = 1000, torch.Generator().manual_seed(2)
    model, draft = (_Chain(1.5 * torch.randn(4, 4, generator=generator, dtype=torch.float64)) for _ in range(2))
    chances, acceptance = _chances(model.table, 1, sampling), Acceptance()
    completions = generate(
        _language(model, 4), [[1]] * count, sampling, draft=draft, proposals=2, acceptance=acceptance
    )
    counts = dict.fromkeys(chances, 0)
    for completion in completions:
        counts[completion.tokens] += 1
    assert 0.3 < acceptance.rate < 0.8
    likely = [tokens for tokens, chance in chances.items() if chance * count >= 5]
    observed = [counts[tokens] for tokens in likely]
    expected = [chances[tokens] * count for tokens in likely]
    assert len(likely) >= 8
    assert chisquare([*observed, count - sum(observed)], [*expected, count - sum(expected)]).pvalue > 1e-3


def _chances(table: Tensor, start: int, sampling: Sampling) -> dict[tuple[int, ...], float]:
    """Return the probability of every completion of at most three tokens; the end token is 3."""
    chances: dict[tuple[int, ...], float] = {}
    for tokens in product(range(4), repeat=3):
        text = tokens[: tokens.index(3)] if 3 in tokens else tokens
        ids, chance = [start], 1.0
        for token in tokens[: len(text) + 1]:
            seen = torch.zeros(1, 4, dtype=torch.bool)
            seen[0, ids] = True
            chance *= float(distribution(table[ids[-1:]], sampling, seen)[0, token])
            ids.append(token)
        chances[text] = chance
    assert sum(chances.values()) == pytest.approx(1)
    return chances


def test_streaming_with_a_draft_gives_what_generating_gives() -> None:
    model, draft = _model(), _model(seed=3)
    sampling = Sampling(temperature=1.0, max_tokens=20, stop=(b"55", b"9"))
    (whole,) = generate(_language(model), PROMPTS[:1], sampling, draft=draft)
    pieces = list(stream(_language(model), PROMPTS[0], sampling, draft=draft))
    assert tuple(piece.token for piece in pieces) == whole.tokens
    assert b"".join(piece.text for piece in pieces) == whole.text


def test_a_refusal_costs_attention_no_copy_of_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    model, draft, places = _model(), _model(seed=3), set()
    extend = CausalModel.extend

    def spy(self: CausalModel, ids: Tensor, state: LayerState, mask: Tensor | None = None):
        logits, after = extend(self, ids, state, mask)
        if self is model:
            (first, *_) = after.parts
            places.add(first.parts[0].cache.keys.data_ptr())  # type: ignore[union-attr]
        return logits, after

    monkeypatch.setattr(CausalModel, "extend", spy)
    acceptance = Acceptance()
    generate(_language(model), [[1] * 30], Sampling(max_tokens=30), draft=draft, acceptance=acceptance)
    assert acceptance.tested - acceptance.accepted > 5
    assert len(places) <= 3  # 29 tokens are read, then room for twice as many lasts to the end


@pytest.mark.slow
def test_a_nested_draft_is_accepted_more_often_than_an_unrelated_one_of_its_size() -> None:
    text = torch.tensor(list(b"".join(path.read_bytes() for path in sorted(Path(json.__file__).parent.glob("*.py")))))
    text = text.clamp(max=127)
    target, other = _trained(text, hidden=128, channel="matformer"), _trained(text, hidden=32, channel="swiglu", seed=1)
    rates = []
    for draft in (extract(target, 1 / 4), other):
        acceptance = Acceptance()
        prompts = [text[start : start + 20].tolist() for start in (100, 3000, 9000)]
        sampling = Sampling(temperature=1.0, max_tokens=150)
        language = LanguageModel(target, _Digits(128), "tiny", 256)
        generate(language, prompts, sampling, draft=draft, acceptance=acceptance)
        rates.append(acceptance.rate)
    print(rates)
    assert rates[0] > rates[1] + 0.02


def _trained(text: Tensor, *, hidden: int, channel: str, seed: int = 0) -> CausalModel:
    torch.manual_seed(seed)
    generator, size = torch.Generator().manual_seed(seed), Size(dim=32, depth=2, hidden=hidden)
    model = causal_model(Attention, size, vocabulary=128, context=64, channel=channel)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(300):
        ids = text[torch.randint(len(text) - 65, (16, 1), generator=generator) + torch.arange(65)]
        with sample_granularity(model, generator) if channel == "matformer" else nullcontext():
            loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_counts_say_what_they_mean() -> None:
    acceptance = Acceptance(passes=10, tested=24, accepted=18)
    assert acceptance.rate == 0.75
    assert acceptance.tokens_per_pass == 2.8
    assert isnan(Acceptance().rate)
    assert isnan(Acceptance().tokens_per_pass)
