"""Fill gaps in files with a language model."""

from __future__ import annotations

from collections.abc import Sequence

from omniform.errors import ConfigError
from omniform_codegen.corpus import Corpus
from omniform_codegen.generation import Sampling, generate
from omniform_codegen.infilling import continuation, prompt
from omniform_codegen.language import LanguageModel
from omniform_codegen.spans import Span

__all__ = ["fill_gaps", "gap_prompt"]

_MOST_TOKENS = 64


def fill_gaps(language: LanguageModel, items: Corpus, spans: Sequence[Span]) -> list[bytes]:
    """Return what the model writes greedily into each gap: at most 64 tokens, and half of its context.

    A model that was trained to infill sees both sides, and ends by itself. Any other continues what stands before, and
    is cut at the end of the line.
    """
    told: list[bytes] = [b""] * len(spans)
    for one_line in (True, False):
        chosen = [
            place for place, span in enumerate(spans) if (span.kind == "line" or not language.infills) == one_line
        ]
        prompts = [_prompt(language, items, spans[place]) for place in chosen]
        sampling = Sampling(max_tokens=_MOST_TOKENS, stop=(b"\n",) if one_line else ())
        completions = generate(language, prompts, sampling) if prompts else []
        for place, completion in zip(chosen, completions, strict=True):
            told[place] = completion.text
    return told


def gap_prompt(language: LanguageModel, before: bytes, behind: bytes, *, room: int) -> list[int]:
    """Return the ids after which the model writes what belongs between `before` and `behind`.

    Args:
        room: how many tokens of the context are left for the answer, half of it at most.

    Raises:
        ConfigError: something stands behind, and the model was not trained to infill.
    """
    limit = language.context - min(room, language.context // 2)
    if not behind:
        return continuation(before, language.tokenizer, limit=limit)
    if language.form is None or not language.infills:
        raise ConfigError(
            f"{language.name} was not trained to fill in the middle; leave out what stands behind the cursor, or train "
            "with --infill 0.5"
        )
    return prompt(before, behind, language.tokenizer, language.form, limit=limit)


def _prompt(language: LanguageModel, items: Corpus, span: Span) -> list[int]:
    content = items.files[span.place].content
    behind = content[span.stop :] if language.infills else b""
    return gap_prompt(language, content[: span.start], behind, room=_MOST_TOKENS)
