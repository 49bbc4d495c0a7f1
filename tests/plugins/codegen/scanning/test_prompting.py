"""Prompts, and likelihoods of answers against a model whose every probability is known."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from omniform_codegen.language import LanguageModel
from omniform_codegen.scanning.prompting import PromptScanner
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.vocabulary import SpecialTokens


class Bytes:
    """A tokenizer of single bytes."""

    special = SpecialTokens(end=256)

    def __len__(self):
        return 257

    def encode(self, text):
        return list(text)

    def decode(self, ids):
        return bytes(i for i in ids if i < 256)

    def lengths(self):
        return np.array([1] * 256 + [0])


class Bigram(nn.Module):
    """Logits that depend on the last byte alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(257, 257))

    def forward(self, ids):
        return self.table[ids]


def language(context=4096):
    return LanguageModel(Bigram(), Bytes(), "stub", context)


def test_probabilities_are_those_of_the_answers():
    model = language()
    table = model.model.table.detach().double().log_softmax(-1)
    told = PromptScanner(model, types=("CWE-89", "CWE-95")).at(b"x = eval(a")
    answers = [b" safe\n", b" vulnerable, SQL injection\n", b" vulnerable, code injection\n"]
    logs = []
    for answer in answers:
        chain = b":" + answer  # the prompt ends so
        logs.append(sum(table[a, b].item() for a, b in pairwise(chain)))
    expected = np.exp(np.array(logs) - max(logs))
    assert list(told) == ["safe", "CWE-89", "CWE-95"]
    assert list(told.values()) == pytest.approx((expected / expected.sum()).tolist())


def test_examples_stand_before_the_question_with_their_answers():
    examples = [Snippet(b"y = 1", "safe"), Snippet(b"exec(z)\n", "CWE-95")]
    prompt = PromptScanner(language(), examples).prompt(b"a = (1,\n  2")
    assert prompt.count(b"# Answer:") == 3
    assert b"# Answer: safe\n" in prompt
    assert b"exec(z) \n" not in prompt
    assert b"# Answer: vulnerable, code injection\n" in prompt
    assert prompt.endswith(b"# Is this statement vulnerable: a = (1, 2\n# Answer:")
    assert prompt.startswith(b"y = 1\n# Is this statement vulnerable: y = 1\n")


def test_a_long_prompt_loses_its_beginning():
    items = Snippets((Snippet(b"x = 1\n" * 100), Snippet(b"y")))
    short, long = (PromptScanner(language(context), types=("CWE-89",)) for context in (48, 4096))
    np.testing.assert_allclose(short.predict(items).probabilities, long.predict(items).probabilities)
    assert long.predict(items).probabilities.shape == (2, 2)
