"""Filling in the middle (arXiv 2207.14255): documents with their middle moved to the end, and prompts that ask for it.

Two orders of prefix P, suffix S, middle M and the tokens that open them:

    psm   <prefix> P <suffix> S <middle> M <end>
    spm   <prefix> <suffix> S <middle> P M <end>

The second is the paper's variant 2 (appendix D): P and M lie side by side as in plain text, and its opening, `<prefix>`
then at once `<suffix>`, is also that of a psm document without a prefix, so that training on both halves teaches one
format. StarCoder and Code Llama took the same variant. P and M are encoded apart in training, as they are when asked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import torch

from omniform.errors import ConfigError, IncompatibleError
from omniform_codegen.vocabulary import SpecialTokens, Tokenizer

__all__ = [
    "CODE_LLAMA",
    "DEEPSEEK_CODER",
    "FORMATS",
    "OURS",
    "QWEN_CODER",
    "STAR_CODER",
    "InfillFormat",
    "Parts",
    "continuation",
    "find_format",
    "prompt",
    "transform",
]

_SUFFIX_SHARE = 0.25  # llama.cpp's infill endpoint keeps the same
_SENTINELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillFormat:
    """How a family of models was taught to fill in the middle.

    Attributes:
        prefix, suffix, middle: names of the tokens that open the parts, by which `find_format` knows a vocabulary.
        ends: names of the tokens at any of which a completion ends; the first closes a middle in training.
        pad: the name of the token that fills up.
        order: of the parts in a prompt.
        lead: bytes put before a prefix that is not empty.
    """

    prefix: str
    suffix: str
    middle: str
    ends: tuple[str, ...]
    pad: str | None = None
    order: Literal["psm", "spm"] = "psm"
    lead: bytes = b""

    def ordered(self, order: Literal["psm", "spm"]) -> InfillFormat:
        """Return the format with its parts in another order."""
        return replace(self, order=order)


STAR_CODER = InfillFormat(
    prefix="<fim_prefix>",
    suffix="<fim_suffix>",
    middle="<fim_middle>",
    ends=("<|endoftext|>", "<file_sep>"),
    pad="<fim_pad>",
)
"""StarCoder and StarCoder2 (arXiv 2305.06161, 2402.19173); the first has no `<file_sep>`."""

OURS = replace(STAR_CODER, ends=("<|endoftext|>",))
"""What `train` teaches: StarCoder's tokens, one file at a time."""

QWEN_CODER = InfillFormat(
    prefix="<|fim_prefix|>",
    suffix="<|fim_suffix|>",
    middle="<|fim_middle|>",
    ends=(
        "<|endoftext|>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
        "<|im_end|>",
    ),
    pad="<|fim_pad|>",
)
"""Qwen2.5-Coder (arXiv 2409.12186); its own example stops at every one of `ends`."""

CODE_LLAMA = InfillFormat(prefix="▁<PRE>", suffix="▁<SUF>", middle="▁<MID>", ends=("▁<EOT>", "</s>"), lead=b" ")
"""Code Llama 7B and 13B (arXiv 2308.12950). SentencePiece put a blank before the prefix, and none before suffix or
middle; `lead` is that blank, for tokenizers that add none."""

DEEPSEEK_CODER = InfillFormat(
    prefix="<｜fim▁begin｜>",  # noqa: RUF001  full-width bars are the token's own
    suffix="<｜fim▁hole｜>",  # noqa: RUF001
    middle="<｜fim▁end｜>",  # noqa: RUF001
    ends=("<｜end▁of▁sentence｜>", "<|EOT|>"),  # noqa: RUF001
)
"""DeepSeek-Coder (arXiv 2401.14196): the hole's token stands between prefix and suffix, psm by other names."""

FORMATS = {
    "ours": OURS,
    "starcoder": STAR_CODER,
    "qwen": QWEN_CODER,
    "codellama": CODE_LLAMA,
    "deepseek": DEEPSEEK_CODER,
}


def find_format(vocabulary: Collection[str]) -> InfillFormat | None:
    """Return the format whose three tokens are in a vocabulary, by their names; `None` if there is none."""
    for candidate in (STAR_CODER, QWEN_CODER, CODE_LLAMA, DEEPSEEK_CODER):
        if {candidate.prefix, candidate.suffix, candidate.middle} <= set(vocabulary):
            return candidate
    return None


@dataclass(frozen=True, slots=True)
class Parts:
    """The ids of prefix, suffix and middle."""

    prefix: list[int]
    suffix: list[int]
    middle: list[int]

    def arrange(self, special: SpecialTokens, order: Literal["psm", "spm"]) -> list[int]:
        """Return them in order with the three tokens that open them.

        Raises:
            IncompatibleError: the vocabulary lacks the tokens.
        """
        if special.prefix is None or special.suffix is None or special.middle is None:
            raise IncompatibleError(
                "the tokenizer has no tokens for filling in the middle; leave the suffix out, or take another model"
            )
        if order == "psm":
            head = [special.prefix, *self.prefix, special.suffix, *self.suffix, special.middle]
        else:
            head = [special.prefix, special.suffix, *self.suffix, special.middle, *self.prefix]
        return head + self.middle

    def shortened(self, excess: int) -> Parts:
        """Drop ids: from the suffix's right, then from the prefix's left, then from the middle's right."""
        suffix = self.suffix[: max(0, len(self.suffix) - excess)]
        excess -= len(self.suffix) - len(suffix)
        prefix = self.prefix[min(excess, len(self.prefix)) :]
        excess -= len(self.prefix) - len(prefix)
        return Parts(prefix, suffix, self.middle[: max(0, len(self.middle) - excess)])


def prompt(prefix: bytes, suffix: bytes, tokenizer: Tokenizer, form: InfillFormat = OURS, *, limit: int) -> list[int]:
    """Return at most `limit` ids behind which the middle is to be generated.

    The suffix has a quarter of the ids that are left beside the special ones, the prefix the rest; what either does not
    need goes to the other. The prefix keeps its right end, the suffix its left.

    Raises:
        ConfigError: `limit` has no room for the special tokens.
        IncompatibleError: the tokenizer has none.
    """
    begin = [] if tokenizer.special.begin is None else [tokenizer.special.begin]
    room = limit - _SENTINELS - len(begin)
    if room < 0:
        raise ConfigError(f"expected a limit of at least {_SENTINELS + len(begin)} tokens, got {limit}")
    reach = room * int(tokenizer.lengths().max())  # no more bytes than these fit, whatever they are
    before = _last(tokenizer.encode((form.lead + prefix if prefix else b"")[-reach:] if reach else b""), room)
    behind = tokenizer.encode(suffix[:reach])[:room]
    share = min(len(behind), max(int(room * _SUFFIX_SHARE), room - len(before)))
    return begin + Parts(_last(before, room - share), behind[:share], []).arrange(tokenizer.special, form.order)


def continuation(prefix: bytes, tokenizer: Tokenizer, *, limit: int) -> list[int]:
    """Return at most `limit` ids behind which a text goes on: what starts every prompt, or a document, and the prefix.

    The end token, which stands before each document in training, is put before a prefix that fits whole; one that does
    not is cut on the left, and starts like a window within a document, without.

    Raises:
        ConfigError: `limit` is not positive.
    """
    if limit < 1:
        raise ConfigError(f"expected a limit of at least 1 token, got {limit}")
    special = tokenizer.special
    reach = limit * int(tokenizer.lengths().max())
    ids = tokenizer.encode(prefix[-reach:])
    if special.begin is not None:
        return [special.begin, *_last(ids, limit - 1)]
    whole = len(prefix) <= reach and len(ids) < limit
    return [special.end, *ids] if whole else _last(ids, limit)


def transform(
    document: bytes,
    tokenizer: Tokenizer,
    form: InfillFormat = OURS,
    *,
    generator: torch.Generator | None = None,
    room: int | None = None,
) -> list[int]:
    """Move a random middle of a document to its end, and close it by the end token.

    Both cuts are uniform over the places between bytes (the paper's character level, which teaches to go on within a
    token); the order is psm or spm, half and half. What exceeds `room` ids is dropped as `Parts.shortened` says, never
    the end token.

    Args:
        generator: of the draws; torch's default one if absent.

    Raises:
        ConfigError: `room` is below the 4 special tokens.
        IncompatibleError: the tokenizer has no tokens for this.
    """
    if room is not None and room <= _SENTINELS:
        raise ConfigError(f"expected room for at least {_SENTINELS + 1} tokens, got {room}")
    start, stop = sorted(torch.randint(len(document) + 1, (2,), generator=generator).tolist())
    order: Literal["psm", "spm"] = "psm" if torch.rand((), generator=generator) < 0.5 else "spm"
    lead = form.lead if start else b""
    pieces = (lead + document[:start], document[stop:], document[start:stop])
    parts = Parts(*(tokenizer.encode(piece) for piece in pieces))
    if room is not None:
        size = len(parts.prefix) + len(parts.suffix) + len(parts.middle) + _SENTINELS + 1
        parts = parts.shortened(max(0, size - room))
    return [*parts.arrange(tokenizer.special, order), tokenizer.special.end]


def _last(ids: list[int], count: int) -> list[int]:
    return ids[max(0, len(ids) - count) :]
