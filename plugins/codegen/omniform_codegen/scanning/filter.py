"""Keep a code model from proposing weak code: completions are scanned before they are shown (arXiv 2306.01754)."""

from __future__ import annotations

from collections.abc import Sequence

from omniform_codegen.generation import Completion
from omniform_codegen.scanning.api import Judge
from omniform_codegen.scanning.metrics import THRESHOLD
from omniform_codegen.scanning.statements import statements

__all__ = ["filtered", "introduced", "reranked"]


def filtered(
    prefix: bytes, completions: Sequence[Completion], judge: Judge, *, threshold: float = THRESHOLD
) -> list[Completion]:
    """Return the completions that bring no weakness with at least this probability, in their order."""
    chances = introduced(prefix, completions, judge)
    return [completion for completion, chance in zip(completions, chances, strict=True) if chance < threshold]


def reranked(
    prefix: bytes, completions: Sequence[Completion], judge: Judge, *, threshold: float = THRESHOLD
) -> list[Completion]:
    """Return all completions, the weak ones behind the others and the weakest last; else the order stays."""
    chances = introduced(prefix, completions, judge)
    order = sorted(range(len(completions)), key=lambda place: chances[place] if chances[place] >= threshold else 0.0)
    return [completions[place] for place in order]


def introduced(prefix: bytes, completions: Sequence[Completion], judge: Judge) -> list[float]:
    """Return for each completion the probability that its weakest statement is weak; 0 where it adds none.

    A statement is judged at its end, with all that stands before it; one that the prefix had begun counts.
    """
    asked, owners = [], []
    for place, completion in enumerate(completions):
        code = prefix + completion.text
        ends = [end for _, end in statements(code) if end > len(prefix)]
        asked += [code[:end] for end in ends]
        owners += [place] * len(ends)
    worst = [0.0] * len(completions)
    if asked:
        for place, chance in zip(owners, judge.weakness(asked), strict=True):
            worst[place] = max(worst[place], float(chance))
    return worst
