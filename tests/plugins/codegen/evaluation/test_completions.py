"""Completions of problems by a language model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from omniform.mixers import Attention
from omniform.task import Size
from omniform_codegen import generation
from omniform_codegen.evaluation import Problem, complete_problems
from omniform_codegen.generation import Completion, Sampling
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import causal_model
from omniform_codegen.vocabulary import SpecialTokens


class _Bytes:
    """A byte an id, and the end."""

    special = SpecialTokens(end=256)

    def __len__(self) -> int:
        return 257

    def encode(self, text):
        return list(text)

    def decode(self, ids):
        return bytes(id for id in ids if id < 256)

    def lengths(self):
        return np.array([1] * 256 + [0])


@pytest.fixture
def language() -> LanguageModel:
    torch.manual_seed(0)
    model = causal_model(Attention, Size(dim=16, depth=1, hidden=16), vocabulary=257, context=64)
    return LanguageModel(model.eval(), _Bytes(), "tiny", 64)


def _problem(name: str, *stop: str) -> Problem:
    return Problem(id=name, prompt=f"def {name}():\n", entry_point=name, reference="", floor="", tests="", stop=stop)


def test_a_real_model_gives_text_cut_at_the_stop_strings(language):
    problems = [_problem("a", "\n"), _problem("b", "e"), _problem("c", "\n")]
    told = complete_problems(language, problems, samples=2, sampling=Sampling(temperature=1.0, max_tokens=12))
    assert list(told) == ["a", "b", "c"]
    assert all(len(texts) == 2 for texts in told.values())
    assert not any("\n" in text for name in "ac" for text in told[name])
    assert not any("e" in text for text in told["b"])
    assert len({text for texts in told.values() for text in texts}) > 3, "samples were not drawn one by one"


def test_what_is_asked_for(language, monkeypatch):
    asked = []

    def generate(model, prompts, sampling):
        asked.append((prompts, sampling))
        return [Completion(f"{len(asked)}.{i}".encode(), (), (), "stop") for i in range(len(prompts))]

    monkeypatch.setattr(generation, "generate", generate)
    sampling = Sampling(max_tokens=20, stop=(b"END",), seed=3)
    told = complete_problems(
        language, [_problem("a", "x"), _problem("b", "y"), _problem("c", "x")], samples=2, sampling=sampling
    )
    assert told == {"a": ["1.0", "1.1"], "b": ["2.0", "2.1"], "c": ["1.2", "1.3"]}
    opened = {name: [256, *f"def {name}():\n".encode()] for name in "abc"}
    assert asked[0] == ([opened["a"]] * 2 + [opened["c"]] * 2, replace(sampling, stop=(b"END", b"x")))
    assert asked[1] == ([opened["b"]] * 2, replace(sampling, stop=(b"END", b"y")))


def test_a_prompt_longer_than_the_context_keeps_its_end(language, monkeypatch):
    asked = []
    monkeypatch.setattr(
        generation,
        "generate",
        lambda model, prompts, sampling: asked.extend(prompts) or [Completion(b"", (), (), "end")],
    )
    problem = replace(_problem("a"), prompt="x" * 100 + "y")
    complete_problems(language, [problem], samples=1, sampling=Sampling(max_tokens=20))
    assert asked == [[*b"x" * 43, ord("y")]]
