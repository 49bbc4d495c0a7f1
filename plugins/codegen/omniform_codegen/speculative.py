"""Speculative decoding: a small model proposes, the large one checks several tokens at once.

Shapes: K proposals, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from omniform.layers import LayerState
from omniform.mixers.attention import AttentionState
from omniform.mixers.base import State
from omniform_codegen.model import CausalModel
from omniform_codegen.sampling import Sampler

__all__ = ["Acceptance", "Reader", "speculate"]


@dataclass(slots=True)
class Acceptance:
    """How proposals fared.

    Attributes:
        passes: of the large model.
        tested: proposals that it looked at: none behind the first one that it refused.
        accepted: those that it took.
    """

    passes: int = 0
    tested: int = 0
    accepted: int = 0

    @property
    def rate(self) -> float:
        """The share of tested proposals that were taken; NaN if there were none."""
        return self.accepted / self.tested if self.tested else float("nan")

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that a pass of the large model yields; 1 without a draft."""
        return (self.accepted + self.passes) / self.passes if self.passes else float("nan")


@dataclass(slots=True)
class Reader:
    """A model somewhere in one sequence.

    Attributes:
        state: behind all tokens but the last ones.
        unread: the last ones, at least one.
    """

    model: CausalModel
    state: LayerState
    unread: list[int] = field(default_factory=list)

    def read(self, tokens: list[int]) -> tuple[Tensor, LayerState]:
        """Return the logits behind each of the unread tokens and these, `(n, V)`, and the state behind all."""
        ids = torch.tensor([self.unread + tokens], device=self.model.stem.weight.device)
        logits, state = self.model.extend(ids, self.state)
        return logits[0], state


def speculate(
    target: Reader, draft: Reader, sampler: Sampler, *, limit: int, proposals: int, acceptance: Acceptance
) -> Iterator[tuple[int, float]]:
    r"""Yield tokens of the target's distribution, and their probabilities under its logits as they are.

    A token x that the draft drew from q is taken with probability :math:`\min(1, p(x) / q(x))`; if it is not, one is
    drawn from :math:`\max(0, p - q)`, normalised, and the rest of the proposals is dropped. Temperature and cuts apply
    to p and q alike; at temperature 0 the tokens are those that the target alone would take, up to the rounding in
    which a chunk differs from single steps.

    Args:
        limit: tokens that are wanted; more may come.
        proposals: K.
        acceptance: is counted up.

    Source: Leviathan et al., arXiv 2211.17192.
    """
    while limit > 0:
        count = min(proposals, limit - 1)
        tokens, confidence = _advance(target, draft, sampler, count, acceptance)
        limit -= len(tokens)
        for token, probability in zip(tokens, confidence, strict=True):
            sampler.see(token)
            yield token, probability


def _advance(
    target: Reader, draft: Reader, sampler: Sampler, count: int, acceptance: Acceptance
) -> tuple[list[int], list[float]]:
    """Propose, check, and move both readers; return the tokens gained."""
    proposed, guesses, states = _propose(draft, sampler, count)
    logits, state = target.read(proposed)
    logits = logits[-count - 1 :]  # behind the last token, and behind each proposal
    wanted = sampler.distribution(logits, proposed)
    taken, token = _judge(sampler, proposed, guesses, wanted)
    acceptance.passes += 1
    acceptance.tested += min(taken + 1, count)
    acceptance.accepted += taken
    tokens = [*proposed[:taken], token]
    confidence = logits[: len(tokens)].float().softmax(-1)[range(len(tokens)), tokens]
    if taken == count:
        target.state = state
        draft.state, draft.unread = states[-1], [*(proposed[-1:] or draft.unread), token]
    else:
        target.state = _rewound(state, count - taken) or target.read(proposed[:taken])[1]
        draft.state, draft.unread = states[taken + 1], [token]
    target.unread = [token]
    return tokens, confidence.tolist()


def _propose(draft: Reader, sampler: Sampler, count: int) -> tuple[list[int], list[Tensor], list[LayerState]]:
    """Return proposals, the distributions (V,) they were drawn from, and the states before and behind each reading."""
    reader = Reader(draft.model, draft.state, draft.unread)
    tokens, guesses, states = [], [], [draft.state]
    for _ in range(count):
        logits, reader.state = reader.read([])
        guess = sampler.distribution(logits[-1:], tokens)[0]
        reader.unread = [sampler.pick(guess)]
        tokens.append(reader.unread[0])
        guesses.append(guess)
        states.append(reader.state)
    return tokens, guesses, states


def _judge(sampler: Sampler, proposed: list[int], guesses: list[Tensor], wanted: Tensor) -> tuple[int, int]:
    """Return how many proposals are taken, and the token that follows them."""
    for place, (token, guess) in enumerate(zip(proposed, guesses, strict=True)):
        if sampler.uniform() * float(guess[token]) >= float(wanted[place, token]):
            rest = (wanted[place] - guess).clamp(min=0)
            return place, sampler.pick(rest if rest.sum() > 0 else wanted[place])
    return len(proposed), sampler.pick(wanted[-1])


def _rewound(state: LayerState, n: int) -> LayerState | None:
    """Return the state n tokens ago, `None` if a part of it does not remember."""
    parts: list[State | None] = []
    for part in state.parts:
        before: State | None = None
        if isinstance(part, AttentionState):
            before = part.rewind(n)
        elif isinstance(part, LayerState):
            before = _rewound(part, n)
        if part is not None and before is None:
            return None
        parts.append(before)
    return LayerState(tuple(parts))
