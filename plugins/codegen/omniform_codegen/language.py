"""A language model ready to use: network, tokenizer, and how much of the past it was trained to see."""

from __future__ import annotations

from dataclasses import dataclass

from omniform_codegen.infilling import OURS, InfillFormat
from omniform_codegen.model import CausalModel
from omniform_codegen.vocabulary import Tokenizer

__all__ = ["LanguageModel"]


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal network with its tokenizer.

    Attributes:
        name: what it came from, for reports.
        context: how many tokens it was trained to see.
        form: how it was taught to fill in the middle; `None` if it was not.
    """

    model: CausalModel
    tokenizer: Tokenizer
    name: str
    context: int
    form: InfillFormat | None = OURS

    @property
    def infills(self) -> bool:
        """Whether it can fill a gap with what stands behind in view."""
        return self.form is not None and self.tokenizer.special.infills
