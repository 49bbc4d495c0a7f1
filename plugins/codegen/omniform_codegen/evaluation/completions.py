"""Have a language model solve problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from omniform_codegen.evaluation.problems import Problem

if TYPE_CHECKING:
    from omniform_codegen.generation import Sampling
    from omniform_codegen.language import LanguageModel

__all__ = ["complete_problems"]


def complete_problems(
    language: LanguageModel, problems: Sequence[Problem], *, samples: int, sampling: Sampling
) -> dict[str, list[str]]:
    """Return so many completions of each problem, cut where the problem's own stop strings say.

    Args:
        sampling: how tokens are drawn; its stop strings hold beside the problem's.
    """
    from omniform_codegen.generation import generate
    from omniform_codegen.infilling import continuation

    room = max(1, language.context - sampling.max_tokens, language.context // 2)
    found: dict[str, list[str]] = {}
    # those that stop alike are generated together
    for stop in dict.fromkeys(problem.stop for problem in problems):
        alike = [problem for problem in problems if problem.stop == stop]
        prompts = [continuation(problem.prompt.encode(), language.tokenizer, limit=room) for problem in alike]
        drawn = replace(sampling, stop=(*sampling.stop, *(each.encode() for each in stop)))
        told = iter(generate(language, [prompt for prompt in prompts for _ in range(samples)], drawn))
        for problem in alike:
            found[problem.id] = [next(told).text.decode(errors="replace") for _ in range(samples)]
    return {problem.id: found[problem.id] for problem in problems}
