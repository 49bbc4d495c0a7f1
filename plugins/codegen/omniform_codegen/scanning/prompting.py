"""Scan by asking a language model: without examples (zero-shot) or with some (few-shot), arXiv 2306.01754.

Small models are of no use here: what they answer follows the prompt's wording, not the code. The paper asks models of
billions of parameters; a network fine-tuned on the task (`Scanner`) is what serves at this size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from omniform.classification import Predictions
from omniform_codegen.language import LanguageModel
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.scanning.statements import last_statement
from omniform_codegen.scanning.weaknesses import SAFE, WEAKNESSES, describe

__all__ = ["PromptScanner"]

_QUESTION = b"# Is this statement vulnerable:"
_ANSWER = b"\n# Answer:"
_SAFE, _WEAK = b" safe\n", b" vulnerable, "


class PromptScanner:
    r"""Compare how likely a language model finds the answers "safe" and "vulnerable, TYPE".

    With the answers \(a_k\) of all classes, each ended by a line break so that none begins another,

    .. math:: p(k \mid \text{code}) = \frac{p(a_k \mid \text{prompt})}{\sum_j p(a_j \mid \text{prompt})}.

    Args:
        language: answers.
        examples: labelled snippets that stand in the prompt with their answers, in their order.
        types: the types of weakness that are asked for.
    """

    def __init__(
        self, language: LanguageModel, examples: Sequence[Snippet] = (), *, types: Sequence[str] = tuple(WEAKNESSES)
    ) -> None:
        self.language = language
        self.examples = tuple(examples)
        self.classes = (SAFE, *types)

    def prompt(self, code: bytes) -> bytes:
        """Return what the model is to continue: the examples with their answers, the code, and the question."""
        shown = [_asked(item.code) + _answer(item.label or SAFE) for item in self.examples]
        return b"\n".join([*shown, _asked(code)])

    def at(self, prefix: str | bytes) -> dict[str, float]:
        """Return the probability of each class for the statement at the end of `prefix`."""
        code = prefix.encode() if isinstance(prefix, str) else prefix
        logs = self._log_likelihoods(code)
        chances = np.exp(logs - logs.max())
        return dict(zip(self.classes, (chances / chances.sum()).tolist(), strict=True))

    def predict(self, items: Snippets) -> Predictions[Snippets]:
        """Return probabilities for all snippets; implements `omniform.task.Predictor`."""
        rows = [list(self.at(item.code).values()) for item in items.items]
        return Predictions(np.array(rows).reshape(len(items), len(self.classes)), self.classes, items)

    @torch.no_grad()
    def _log_likelihoods(self, code: bytes) -> np.ndarray:
        """Return log p(answer | prompt) of each class, `(K,)`; what the context cannot hold is cut off in front."""
        language = self.language
        special = language.tokenizer.special
        first = special.end if special.begin is None else special.begin
        prompt = [first, *language.tokenizer.encode(self.prompt(code))]
        logs = []
        for name in self.classes:
            answer = language.tokenizer.encode(_answer(name))
            ids = torch.tensor([(prompt + answer)[-language.context - 1 :]])
            told = language.model(ids[:, :-1]).double().log_softmax(-1)  # (1, L, V)
            own = told[0].gather(1, ids[0, 1:, None])[-len(answer) :]
            logs.append(float(own.sum()))
        return np.array(logs)


def _asked(code: bytes) -> bytes:
    start, end = last_statement(code)
    line = b" ".join(code[start:end].split())
    return code.rstrip() + b"\n" + _QUESTION + b" " + line + _ANSWER


def _answer(label: str) -> bytes:
    return _SAFE if label == SAFE else _WEAK + describe(label).name.encode() + b"\n"
