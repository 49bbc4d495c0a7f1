"""FRANC as a whole: filter, rank and repair what any code model suggests. Source: arXiv 2307.08220."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from omniform.errors import ConfigError
from omniform_codegen.franc.ranker import Ranked, rank
from omniform_codegen.franc.repair import Complete, Repair, repair
from omniform_codegen.franc.static_filter import Dropped, filter_suggestions

__all__ = ["Franc", "Report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the suggestions for one prompt.

    Attributes:
        ranked: those that compile, the best first; a repaired one stands before them.
        dropped: those that could not be made to.
        compiled: how many compiled as they came.
        repair: how asking again went; `None` if there was no need.
        seconds: taken by filter, ranker and repair, the model's own time left out.
    """

    ranked: tuple[Ranked, ...]
    dropped: tuple[Dropped, ...]
    compiled: int
    repair: Repair | None
    seconds: float

    @property
    def best(self) -> str | None:
        """The best code, `None` if all was dropped."""
        return self.ranked[0].mended.code if self.ranked else None


class Franc:
    """Wrap a code model, so that what it suggests compiles and the best stands first.

    Args:
        complete: the model: a prompt and a number n to n suggestions.
        suggestions: how many are asked for.
        rounds: how often the model is asked again while something is found in the best suggestion.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(self, complete: Complete, *, suggestions: int = 10, rounds: int = 2) -> None:
        if suggestions < 1 or rounds < 0:
            raise ConfigError(
                f"expected at least 1 suggestion and 0 rounds, got {suggestions} suggestions and {rounds} rounds"
            )
        self.complete = complete
        self.suggestions = suggestions
        self.rounds = rounds

    def suggest(self, prompt: str) -> Report:
        """Return suggestions that continue a prompt, repaired and ordered."""
        clock = _Clock(self.complete)
        filtered = filter_suggestions(prompt, clock.complete(prompt, self.suggestions))
        ranked = rank(filtered.kept)
        again: Repair | None = None
        if ranked and ranked[0].quality.findings and self.rounds:
            again = repair(clock.complete, prompt, ranked[0], suggestions=self.suggestions, rounds=self.rounds)
            if again.improved:
                ranked = [_numbered(again.best, self.suggestions), *ranked]
        return Report(
            ranked=tuple(ranked),
            dropped=filtered.dropped,
            compiled=sum(mended.compiled for mended in filtered.kept),
            repair=again,
            seconds=clock.seconds(),
        )


class _Clock:
    """Time since it was made, without that spent in the model."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete
        self._start = time.perf_counter()
        self._away = 0.0

    def complete(self, prompt: str, count: int) -> list[str]:
        start = time.perf_counter()
        texts = self._complete(prompt, count)
        self._away += time.perf_counter() - start
        return texts

    def seconds(self) -> float:
        return time.perf_counter() - self._start - self._away


def _numbered(ranked: Ranked, first: int) -> Ranked:
    """Return a suggestion of a later round, numbered behind those of the first."""
    return replace(ranked, mended=replace(ranked.mended, suggestion=first + ranked.mended.suggestion))
