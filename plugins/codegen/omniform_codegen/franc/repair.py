"""Prompt repair: ask again, with what was found said before the code. Source: FRANC, arXiv 2307.08220."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omniform_codegen.franc.quality import Finding
from omniform_codegen.franc.ranker import Ranked, rank
from omniform_codegen.franc.static_filter import filter_suggestions

__all__ = ["Complete", "Repair", "repair", "repair_prompt"]

Complete = Callable[[str, int], list[str]]
"""Any code model: a prompt and a number n to n suggestions that continue it."""

_SAID = 3  # findings that a prompt names; more would push the code out of a small model's sight


@dataclass(frozen=True, slots=True)
class Repair:
    """How asking again went.

    Attributes:
        rounds: how often the model was asked.
        before, after: scores of the best suggestion.
        best: that suggestion, which may be the old one.
    """

    rounds: int
    before: float
    after: float
    best: Ranked

    @property
    def improved(self) -> bool:
        """Whether a better suggestion was found."""
        return self.after > self.before


def repair(complete: Complete, prompt: str, best: Ranked, *, suggestions: int, rounds: int) -> Repair:
    """Ask again until nothing is found in the best suggestion, at most `rounds` times; never return a worse one."""
    before, asked = best.quality.score, 0
    while best.quality.findings and asked < rounds:
        asked += 1
        texts = complete(repair_prompt(prompt, best.quality.findings), suggestions)
        ranked = rank(filter_suggestions(prompt, texts).kept)
        if ranked and ranked[0].quality.score > best.quality.score:
            best = ranked[0]
    return Repair(asked, before, best.quality.score, best)


def repair_prompt(prompt: str, findings: Sequence[Finding]) -> str:
    """Return the prompt with comments before it that tell what to avoid."""
    told = list(dict.fromkeys(f"# Avoid this issue: {finding.message} ({finding.rule})" for finding in findings))
    return "".join(f"{line}\n" for line in told[:_SAID]) + prompt
