"""The distribution that tokens are drawn with against the peer's processors, and draws against the distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from omniform.errors import ConfigError
from omniform_codegen.generation import Sampling
from omniform_codegen.sampling import Sampler, distribution, draw
from omniform_codegen.vocabulary import SpecialTokens


class _Letters:
    """Ids 0 to 9 are letters, 10 pads, 11 ends."""

    special = SpecialTokens(end=11, pad=10)

    def __len__(self) -> int:
        return 12

    def encode(self, text: bytes) -> list[int]:
        return [byte - 97 for byte in text]

    def decode(self, ids: Sequence[int]) -> bytes:
        return bytes(97 + id for id in ids if id < 10)

    def lengths(self) -> np.ndarray:
        return np.array([1] * 10 + [0, 0])


def _logits(rows: int = 5, width: int = 12, seed: int = 0) -> Tensor:
    return 3 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _sampler(sampling: Sampling, prompts: Sequence[Sequence[int]] = ((0,),), rows: Sequence[int] = (0,)) -> Sampler:
    return Sampler(_Letters(), sampling, prompts, rows, torch.device("cpu"))


@pytest.mark.parametrize("repetition", [1.0, 1.3, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 4, 50])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3, 1e-9])
def test_equals_the_peers_processors(repetition: float, temperature: float, top_k: int, top_p: float) -> None:
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits, ids = _logits(), torch.tensor([[0, 3, 3], [1, 2, 3], [11, 11, 11], [5, 6, 7], [8, 9, 0]])
    chain = [processors.RepetitionPenaltyLogitsProcessor(repetition), processors.TemperatureLogitsWarper(temperature)]
    chain += [processors.TopKLogitsWarper(top_k)] if top_k else []
    chain += [processors.TopPLogitsWarper(top_p)] if top_p < 1 else []
    expected = logits
    for processor in chain:
        expected = processor(ids, expected)
    seen = torch.zeros(5, 12, dtype=torch.bool).scatter(1, ids, True)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, repetition=repetition)
    torch.testing.assert_close(distribution(logits, sampling, seen), expected.softmax(-1))


def test_temperature_zero_takes_the_likeliest_after_repetition() -> None:
    logits, seen = torch.tensor([[2.0, 1.9, -1.0]]), torch.tensor([[True, False, False]])
    assert distribution(logits, Sampling()).tolist() == [[1, 0, 0]]
    assert distribution(logits, Sampling(repetition=1.2), seen).tolist() == [[0, 1, 0]]


def test_what_cannot_be_stays_impossible() -> None:
    logits = _logits().index_fill(1, torch.tensor([2, 5]), -torch.inf)
    seen = torch.ones(5, 12, dtype=torch.bool)
    for sampling in (Sampling(), Sampling(temperature=1.0, repetition=0.5), Sampling(temperature=9.0, top_p=0.99)):
        assert not distribution(logits, sampling, seen)[:, [2, 5]].any()


def test_draws_have_the_distribution() -> None:
    probabilities = distribution(_logits(1, 6), Sampling(temperature=1.5, top_k=4))
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20_000))
    counts = draw(probabilities.expand(20_000, -1), uniforms).bincount(minlength=6).double()
    possible = probabilities[0] > 0
    assert possible.sum() == 4
    assert not counts[~possible].any()
    assert chisquare(counts[possible], 20_000 * probabilities[0, possible]).pvalue > 1e-3


def test_a_draw_never_takes_what_has_no_probability() -> None:
    probabilities = torch.tensor([[0, 0.25, 0, 0.75, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]], dtype=torch.float64)
    for uniform, expected in ((0.0, [1, 4, 0]), (1 - 2.0**-53, [3, 4, 0]), (0.25, [3, 4, 0])):
        assert draw(probabilities, torch.full((3,), uniform, dtype=torch.float64)).tolist() == expected


def test_special_tokens_and_padded_heads_are_never_drawn_but_the_end_is() -> None:
    logits = torch.zeros(1, 16)
    logits[:, [10, 12, 15]] = 50.0
    sampler = _sampler(Sampling(temperature=1.0))
    drawn = [int(sampler.draw(logits)[0]) for _ in range(400)]
    assert set(drawn) == {*range(10), 11}
    logits[:, 11] = 20.0
    assert int(_sampler(Sampling()).draw(logits)[0]) == 11


def test_probabilities_are_those_of_the_logits_as_they_are() -> None:
    logits = _logits(2, 16)
    sampling = Sampling(temperature=0.3, top_k=2, repetition=3.0)
    tokens, probabilities = _sampler(sampling, ((1, 2), (3,)), (0, 1)).draw(logits)
    torch.testing.assert_close(probabilities, logits.float().softmax(-1)[[0, 1], tokens])


def test_a_model_with_fewer_ids_than_the_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="do not belong together"):
        _sampler(Sampling()).draw(torch.zeros(1, 11))


def test_a_sequence_draws_the_same_whatever_its_neighbours() -> None:
    sampling = Sampling(temperature=1.0, repetition=1.5, seed=3)
    together = _sampler(sampling, ((1,), (2,), (3,)), (4, 5, 6))
    alone = _sampler(sampling, ((2,),), (5,))
    for step in range(20):
        logits = _logits(3, seed=step)
        if step == 10:
            together.select([1, 2])
        chosen = logits if step < 10 else logits[1:]
        assert together.draw(chosen)[0][1 if step < 10 else 0] == alone.draw(logits[1:2])[0][0]


def test_each_place_of_a_chunk_has_seen_what_stands_before_it() -> None:
    sampling = Sampling(temperature=1.0, repetition=2.0)
    sampler, logits, ahead = _sampler(sampling, ((0, 1),)), _logits(3), [4, 7]
    sampler.see(9)
    for place in range(3):
        seen = torch.zeros(1, 12, dtype=torch.bool)
        seen[0, [0, 1, 9, *ahead[:place]]] = True
        masked = logits[place : place + 1].index_fill(1, torch.tensor([10]), -torch.inf)
        expected = distribution(masked, sampling, seen)[0]
        torch.testing.assert_close(sampler.distribution(logits, ahead)[place], expected)
