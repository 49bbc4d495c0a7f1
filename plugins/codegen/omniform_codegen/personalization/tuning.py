"""Tune a language model to a project's past, stop where its next commits say so, and measure on those after.

Shapes: B batch, L tokens of a window, p prefix length.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from typing import Any

import torch
from torch import Generator, nn
from torch.utils.data import Dataset

from omniform.adaptation.cost import AdaptationCost, adaptation_cost
from omniform.adaptation.selection import begin
from omniform.adaptation.settings import Adaptation, Method
from omniform.errors import DataError
from omniform.layers import LayerState
from omniform.task import Budget, Losses, Network, Splits, Statistic
from omniform.training.config import Training
from omniform.training.fit import Fit, fit
from omniform_codegen.corpus import Corpus
from omniform_codegen.history import Commit, History
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import CausalModel
from omniform_codegen.network import next_token_loss
from omniform_codegen.personalization.changes import Additions, draw_gaps, gather, thinned, whole
from omniform_codegen.personalization.comparison import (
    ADDED_BITS,
    EDIT_SIMILARITY,
    EXACT_MATCH,
    OTHER_BITS,
    Comparison,
    compare,
    verdict,
)
from omniform_codegen.personalization.scoring import AddedLines, gap_scores
from omniform_codegen.spans import Span
from omniform_codegen.windows import TrainingWindows

__all__ = ["RATES", "Personalization", "personalize", "prompt_state"]

RATES: dict[Method, float] = {
    "full": 5e-4,
    "adapter": 2e-3,
    "prefix": 1e-2,
    "bias": 5e-3,
    "embeddings": 2e-3,
    "last-layer": 1e-3,
}
"""Peak learning rates where none is given: the fewer parameters, the larger their steps."""

_BATCH = 16
_LONGEST_WINDOW = 1024  # tokens; a checkpoint's whole context would take most machines' memory
_INFILLED = 0.5  # share of windows with the middle moved to the end, as in training from scratch


@dataclass(frozen=True, slots=True, kw_only=True)
class Personalization:
    """A tuned model and what it is worth.

    Attributes:
        language: the model with what was trained in it; the base is left as it was.
        trained: names of the parameters that trained.
        comparisons: on the later commits bits per byte of added lines, exact match and edit similarity of filled lines;
            then bits per byte of other files, if there were any.
        verdict: whether there is a gain, and what got worse.
        fit: how it was trained; `best_validation` is the best bits per byte of lines that the next commits added.
    """

    language: LanguageModel
    settings: Adaptation
    training: Training
    context: int
    seed: int
    trained: tuple[str, ...]
    cost: AdaptationCost
    comparisons: tuple[Comparison, ...]
    verdict: str
    fit: Fit
    seconds: float


def personalize(
    language: LanguageModel,
    history: History,
    *,
    settings: Adaptation | None = None,
    budget: Budget | None = None,
    training: Training | None = None,
    context: int | None = None,
    seed: int = 0,
    gaps: int = 64,
    validation_bytes: int = 50_000,
    test_bytes: int = 200_000,
    other: Corpus | None = None,
    progress: bool = True,
) -> Personalization:
    """Tune a copy of a model to `history.train`, and compare it with the base on `history.test`.

    The steps at which training stops are those with the fewest bits per byte of lines that `history.validation` added;
    none at all, if training only worsens that. Nothing of `history.test` is looked at before.

    Args:
        settings: the method; an adapter of rank 8 if not given.
        budget: how long to train; 200 steps if not given.
        training: the learning rate is `RATES[method]` and the batch 16 unless it says otherwise.
        context: tokens of a window; the model's own, but at most 1024, if not given.
        gaps: how many added lines are filled in, before and after.
        validation_bytes, test_bytes: the most added bytes that are scored; more is thinned out evenly over time.
        other: files of another project, to see what was forgotten.

    Raises:
        DataError: a part of the history is empty.
        ConfigError: the method would train nothing.
        IncompatibleError: the method does not fit the network.
    """
    begun = time.perf_counter()
    settings = settings or Adaptation()
    training = _complete(training or Training(), settings.method)
    context = context or min(language.context, _LONGEST_WINDOW)
    base = replace(language, context=context)
    validation = _additions(history.validation, validation_bytes, "validation")
    test = _additions(history.test, test_bytes, "test")
    lines = AddedLines.of(validation, base.tokenizer, context=context)
    forgotten = whole(other, test_bytes) if other else None
    examination = _Examination(test, draw_gaps(test, count=gaps, seed=seed), forgotten, base)
    before = examination.take(base)
    tuned = replace(base, model=copy.deepcopy(base.model))
    torch.manual_seed(seed)
    start = prompt_state(tuned, history.train, settings.prefix_length) if settings.method == "prefix" else None
    trained = begin(tuned.model, settings, start=start)
    result = _train(tuned, history.train, lines, budget or Budget(steps=200), training, seed, progress)
    comparisons = tuple(
        compare(metric, before[metric.name], statistic, seed=seed)
        for metric, statistic in zip(examination.metrics, examination.take(tuned).values(), strict=True)
    )
    return Personalization(
        language=replace(tuned, context=language.context),
        settings=settings,
        training=training,
        context=context,
        seed=seed,
        trained=trained,
        cost=adaptation_cost(tuned.model, settings, length=context, sequences=result.steps * training.batch_items),
        comparisons=comparisons,
        verdict=verdict(comparisons),
        fit=result,
        seconds=time.perf_counter() - begun,
    )


@torch.no_grad()
def prompt_state(language: LanguageModel, corpus: Corpus, length: int) -> LayerState:
    """Return the state behind the first p tokens of a corpus, from which a prefix is begun, as its authors advise."""
    model = language.model
    state = model.init_state(1)
    if not length:
        return state
    tokenizer = language.tokenizer
    stream = chain.from_iterable((tokenizer.special.end, *tokenizer.encode(file.content)) for file in corpus.files)
    ids = list(islice(cycle(islice(stream, length)), length))
    return model.extend(torch.tensor([ids], device=model.output_weight.device), state)[1]


class _Examination:
    """The same questions for every model: the later commits, and files of another project."""

    def __init__(self, test: Additions, gaps: Sequence[Span], other: Additions | None, base: LanguageModel) -> None:
        self.test = test
        self.gaps = gaps
        self.other = other and AddedLines.of(other, base.tokenizer, context=base.context)
        self.lines = AddedLines.of(test, base.tokenizer, context=base.context)
        filled = (EXACT_MATCH, EDIT_SIMILARITY) if gaps else ()
        self.metrics = (ADDED_BITS, *filled, *((OTHER_BITS,) if other else ()))

    def take(self, language: LanguageModel) -> dict[str, Statistic]:
        """Return the statistics of `metrics`, in their order."""
        told = {ADDED_BITS.name: self.lines.bits(language.model)}
        if self.gaps:
            told |= gap_scores(language, self.test, self.gaps)
        if self.other:
            told[OTHER_BITS.name] = self.other.bits(language.model)
        return told


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows of the past."""

    language: LanguageModel

    def __call__(self, items: Corpus, train: bool) -> Dataset[Any]:
        language = self.language
        infill = _INFILLED if language.infills else 0.0
        return TrainingWindows(items, language.tokenizer, context=language.context, infill=infill)


def _train(
    language: LanguageModel,
    past: Corpus,
    lines: AddedLines,
    budget: Budget,
    training: Training,
    seed: int,
    progress: bool,
) -> Fit:
    model = language.model
    device = model.output_weight.device
    network = Network(build=_refuse, objective=_objective, dataset=_Windows(language), decode=_refuse, assemble=_refuse)
    result = fit(
        network,
        model,
        Splits(past, past, past),
        validate=lambda model: _bits(model, lines),
        lower_is_better=True,
        training=training,
        budget=budget,
        seed=seed,
        score_start=True,
        progress=progress,
    )
    model.to(device)
    return result


def _bits(model: nn.Module, lines: AddedLines) -> float:
    assert isinstance(model, CausalModel)
    return lines.bits(model).value()


def _objective(model: nn.Module, batch: Any, *, generator: Generator) -> Losses:
    assert isinstance(model, CausalModel)
    return Losses(next_token_loss(model, batch))


def _refuse(*arguments: Any) -> Any:
    raise AssertionError("a network that is tuned is there already, and scored by its lines")


def _complete(training: Training, method: Method) -> Training:
    rate = RATES[method] if training.learning_rate is None else training.learning_rate
    return replace(training, learning_rate=rate, batch_size=training.batch_size or _BATCH)


def _additions(commits: Sequence[Commit], most: int, part: str) -> Additions:
    kept = thinned(commits, most)
    if not kept:
        raise DataError(
            f"expected {part} commits that add lines, got none of a usable size; give a longer history, another "
            "--author or other --shares"
        )
    return gather(kept)
