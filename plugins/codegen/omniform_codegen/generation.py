"""Continue prompts with a language model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite

import torch

from omniform.errors import ConfigError
from omniform_codegen.continuation import Continuation, Ended, Piece
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import CausalModel
from omniform_codegen.prefill import prefill
from omniform_codegen.sampling import Sampler
from omniform_codegen.speculative import Acceptance, Reader, speculate

__all__ = ["Completion", "Piece", "Sampling", "generate", "stream"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the likeliest token.
        top_k: among so many likeliest; 0 for all.
        top_p: among the fewest likeliest whose probabilities sum to this.
        repetition: divides positive logits, and multiplies negative ones, of tokens that stand before; 1 changes none.
        max_tokens: the most that are generated.
        stop: byte strings before which a completion ends.
        seed: of the draws.

    Raises:
        ConfigError: a value is out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition: float = 1.0
    max_tokens: int = 128
    stop: tuple[bytes, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not (isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"expected a temperature of at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"expected a top_p above 0 and at most 1, got {self.top_p}")
        if not (isfinite(self.repetition) and self.repetition > 0):
            raise ConfigError(f"expected a repetition above 0, with 1 for none, got {self.repetition}")
        for name, least in (("top_k", 0), ("max_tokens", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if not (isinstance(self.stop, tuple) and all(isinstance(each, bytes) and each for each in self.stop)):
            raise ConfigError(f"expected stop as a tuple of byte strings that are not empty, got {self.stop!r}")


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated.

    Attributes:
        text: the bytes, cut before the stop string.
        tokens: the ids that `text` was decoded from.
        probabilities: of each of them, under the distribution before temperature and cuts.
        ended: why it ended.
    """

    text: bytes
    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]
    ended: Ended


def generate(
    language: LanguageModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    on_token: Callable[[int, Piece], object] | None = None,
    draft: CausalModel | None = None,
    proposals: int = 4,
    acceptance: Acceptance | None = None,
    batch: int = 16,
) -> list[Completion]:
    """Continue prompts of ids, each as if it were alone.

    A prompt is taken as it is; an empty one stands for the token that opens a document. No completion goes beyond the
    context that the model was trained with: of a longer prompt the end is kept, so that `max_tokens` fit behind it, or
    half the context if they would not; what does not fit then is not generated. This is logged.

    Args:
        on_token: is called with the place of a prompt and each piece of its completion, once it is settled.
        draft: a smaller model of the same tokenizer that proposes tokens; prompts are then continued one by one.
        proposals: how many tokens it proposes at a time.
        acceptance: counts how its proposals fare.
        batch: prompts that are continued at once.

    Returns:
        Completions in the order of the prompts.

    Raises:
        ConfigError: a number is out of range, or the tokenizer has ids that the model has not.
    """
    if batch < 1 or proposals < 1:
        raise ConfigError(f"expected at least 1 prompt at once and 1 proposal, got {batch} and {proposals}")
    tasks = _fit(language, prompts, sampling)
    order = sorted(range(len(tasks)), key=lambda row: len(tasks[row].prompt))  # alike ones together: little padding
    pieces: list[list[Piece]] = [[] for _ in tasks]
    size = batch if draft is None else 1
    for start in range(0, len(order), size):
        together = [tasks[row] for row in order[start : start + size]]
        for row, piece in _continue(language, together, sampling, draft, proposals, acceptance):
            pieces[row].append(piece)
            if on_token is not None:
                on_token(row, piece)
    return [_completion(task, parts) for task, parts in zip(tasks, pieces, strict=True)]


def stream(
    language: LanguageModel,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    draft: CausalModel | None = None,
    proposals: int = 4,
) -> Iterator[Piece]:
    """Yield the pieces of one completion as they are settled: what `generate` returns for `[prompt]`, bit by bit."""
    tasks = _fit(language, [prompt], sampling)
    return (piece for _, piece in _continue(language, tasks, sampling, draft, proposals, None))


@dataclass(slots=True)
class _Task:
    """A prompt that fits, its place among the prompts, and what has come of it."""

    row: int
    prompt: list[int]
    limit: int
    continuation: Continuation


def _fit(language: LanguageModel, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[_Task]:
    """Cut prompts and completions to the context."""
    special, context = language.tokenizer.special, language.context
    opening = special.end if special.begin is None else special.begin
    room = max(context - sampling.max_tokens, context // 2, 1)
    tasks, cut = [], 0
    for row, ids in enumerate(prompts):
        prompt = list(ids) or [opening]
        if len(prompt) > room:
            first = prompt[:1] if prompt[0] == special.begin and room > 1 else []  # a model trained so leans on it
            prompt = first + prompt[len(prompt) - room + len(first) :]
            cut += 1
        limit = min(sampling.max_tokens, max(context - len(prompt), 1))
        tasks.append(_Task(row, prompt, limit, Continuation(language.tokenizer, sampling.stop, limit)))
    if cut:
        _LOG.warning("%d of %d prompts were longer than %d tokens: their ends were kept", cut, len(tasks), room)
    if tasks and (least := min(task.limit for task in tasks)) < sampling.max_tokens:
        _LOG.warning("a context of %d leaves room for %d tokens of %d", context, least, sampling.max_tokens)
    return tasks


def _continue(
    language: LanguageModel,
    tasks: list[_Task],
    sampling: Sampling,
    draft: CausalModel | None,
    proposals: int,
    acceptance: Acceptance | None,
) -> Iterator[tuple[int, Piece]]:
    """Yield pieces with their rows; with a draft, of the one task."""
    if draft is None:
        return _decode(language, tasks, sampling)
    (task,) = tasks
    return _decode_with_draft(language, task, sampling, draft, proposals, acceptance or Acceptance())


@torch.inference_mode()
def _decode(language: LanguageModel, tasks: list[_Task], sampling: Sampling) -> Iterator[tuple[int, Piece]]:
    """Yield pieces of all tasks, with their rows; those that ended leave the batch."""
    model = language.model
    with _evaluating(model):
        prompts = [task.prompt for task in tasks]
        logits, state = prefill(model, prompts)
        sampler = Sampler(language.tokenizer, sampling, prompts, [task.row for task in tasks], logits.device)
        while True:
            tokens, probabilities = sampler.draw(logits)
            for task, token, probability in zip(tasks, tokens.tolist(), probabilities.tolist(), strict=True):
                for piece in task.continuation.add(token, probability):
                    yield task.row, piece
            going = [place for place, task in enumerate(tasks) if task.continuation.ended is None]
            if not going:
                return
            if len(going) < len(tasks):
                index = torch.tensor(going, device=tokens.device)
                tasks, tokens, state = [tasks[place] for place in going], tokens[index], state.select(index)
                sampler.select(going)
            logits, state = model.extend(tokens[:, None], state)
            logits = logits[:, -1]


@torch.inference_mode()
def _decode_with_draft(
    language: LanguageModel,
    task: _Task,
    sampling: Sampling,
    draft: CausalModel,
    proposals: int,
    acceptance: Acceptance,
) -> Iterator[tuple[int, Piece]]:
    with _evaluating(language.model, draft):
        *past, last = task.prompt
        large, small = (Reader(model, prefill(model, [past])[1], [last]) for model in (language.model, draft))
        device = language.model.stem.weight.device
        sampler = Sampler(language.tokenizer, sampling, [task.prompt], [task.row], device)
        tokens = speculate(large, small, sampler, limit=task.limit, proposals=proposals, acceptance=acceptance)
        for token, probability in tokens:
            for piece in task.continuation.add(token, probability):
                yield task.row, piece
            if task.continuation.ended is not None:
                return


@contextmanager
def _evaluating(*models: CausalModel) -> Iterator[None]:
    """Switch dropout off, and back on where it was."""
    training = [module for model in models for module in model.modules() if module.training]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _completion(task: _Task, pieces: Sequence[Piece]) -> Completion:
    assert task.continuation.ended is not None
    return Completion(
        text=b"".join(piece.text for piece in pieces),
        tokens=tuple(piece.token for piece in pieces),
        probabilities=tuple(piece.probability for piece in pieces),
        ended=task.continuation.ended,
    )
