"""How the shared trainer sees a language model of code: windows, cross-entropy, code lengths, filled gaps.

B = batch, L = tokens of a window
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from omniform.channel import sample_granularity
from omniform.errors import ConfigError
from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size
from omniform.training.precision import move_to
from omniform.training.sampler import read_items
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus
from omniform_codegen.filling import fill_gaps
from omniform_codegen.infilling import OURS, InfillFormat
from omniform_codegen.language import LanguageModel
from omniform_codegen.model import CausalModel, causal_model
from omniform_codegen.predictions import Predictions
from omniform_codegen.spans import Span
from omniform_codegen.tokenizer import BytePair
from omniform_codegen.vocabulary import Tokenizer
from omniform_codegen.windows import UNCOUNTED, ScoringWindows, TrainingWindows
from omniform_kernels.cross_entropy import cross_entropy

__all__ = ["LanguagePredictor", "code_lengths", "complete_network", "form_of", "next_token_loss", "window_bits"]

Batch = tuple[Tensor, Tensor]
_SCORED_AT_A_TIME = 16
_MOST_LOGITS = 1 << 26  # at once, of a checkpoint's large vocabulary


def complete_network(config: CompleteConfig, mixer: str) -> Network:
    """Describe the network of a resolved `config` over a mixer.

    Raises:
        ConfigError: there is no such mixer, it has no causal form with a state, or the config was never resolved.
    """
    traits = find_mixer(mixer).traits
    if traits.causal == "never" or not traits.stateful:
        raise ConfigError(
            f"{mixer} cannot write from left to right; expected a causal mixer with a state (omniform zoo)"
        )
    if not config.tokenizer:
        raise ConfigError("expected a config with a tokenizer; resolve it with data")
    tokenizer = BytePair.from_text(config.tokenizer)
    return Network(
        build=_Build(config, mixer, len(tokenizer)),
        objective=_Objective(nested=config.channel == "matformer"),
        dataset=_Windows(config, tokenizer),
        decode=_Decode(tokenizer, config, mixer),
        assemble=_refuse_to_assemble,
        stream=_Stream(tokenizer, config.context),
        fixed=("stem",),
        batch_size=16,
        learning_rate=3e-3,
    )


def form_of(config: CompleteConfig) -> InfillFormat | None:
    """Return how a network of this config learns to fill in the middle."""
    return OURS if config.infill > 0 else None


def next_token_loss(model: CausalModel, batch: Batch) -> Tensor:
    """Return the mean cross-entropy in nats of the targets `(B, L)` that count."""
    ids, targets = batch
    return cross_entropy(
        model.hidden(ids).flatten(0, 1), model.output_weight, targets.flatten(), ignore_index=UNCOUNTED
    )


def code_lengths(
    items: Corpus,
    tokenizer: Tokenizer,
    context: int,
    bits: Callable[[Batch], Tensor],
    *,
    at_a_time: int = _SCORED_AT_A_TIME,
) -> np.ndarray:
    """Return how many bits each file takes, `(F,)`: every token is scored once, with at least half a window before it.

    Args:
        bits: of each window `(B,)`, given ids and targets `(B, L)`.
        at_a_time: windows in a batch.
    """
    windows: Any = ScoringWindows(items, tokenizer, context=context)
    total = np.zeros(len(items))
    for start in range(0, len(windows), at_a_time):
        places = list(range(start, min(start + at_a_time, len(windows))))
        ids, targets, files = read_items(windows, places)
        np.add.at(total, files.numpy(), bits((ids, targets)).double().numpy())
    return total


@dataclass(frozen=True, slots=True)
class LanguagePredictor:
    """Any language model as the task's predictor: a checkpoint is scored as a network of the task is.

    Attributes:
        context: tokens of a window; what a checkpoint can see would take long to score by.
    """

    language: LanguageModel
    context: int

    def predict(self, items: Corpus) -> Predictions:
        """Score all files; gaps are filled when that is asked for."""
        model = self.language.model
        device = model.output_weight.device

        @torch.no_grad()
        def bits(batch: Batch) -> Tensor:
            return window_bits(model, move_to(batch, device)).cpu()

        fitting = _MOST_LOGITS // (self.context * len(model.output_weight))
        at_a_time = max(1, min(_SCORED_AT_A_TIME, fitting))
        lengths = code_lengths(items, self.language.tokenizer, self.context, bits, at_a_time=at_a_time)
        return Predictions(lengths, items, partial(fill_gaps, self.language))


@dataclass(frozen=True, slots=True)
class _Objective:
    """The next token's cross-entropy; a nested model is trained at one granularity a step."""

    nested: bool

    def __call__(self, model: nn.Module, batch: Batch, *, generator: Generator) -> Losses:
        assert isinstance(model, CausalModel)
        if not self.nested:
            return Losses(next_token_loss(model, batch))
        with sample_granularity(model, generator):
            return Losses(next_token_loss(model, batch))


@dataclass(frozen=True, slots=True)
class _Gaps:
    """A request to fill gaps."""

    items: Corpus
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Decode:
    """Return the code length of each window in bits `(B,)`, or what fills gaps."""

    tokenizer: Tokenizer
    config: CompleteConfig
    mixer: str

    def __call__(self, model: nn.Module, batch: tuple[Tensor, ...] | _Gaps) -> Any:
        assert isinstance(model, CausalModel)
        if isinstance(batch, _Gaps):
            config = self.config
            language = LanguageModel(model, self.tokenizer, self.mixer, config.context, form_of(config))
            return fill_gaps(language, batch.items, batch.spans)
        return window_bits(model, (batch[0], batch[1]))


def window_bits(model: CausalModel, batch: Batch) -> Tensor:
    """Return the code length of the targets of each window that count, `(B,)`."""
    ids, targets = batch
    chances = model(ids).float().log_softmax(-1)
    counted = targets != UNCOUNTED
    told = chances.gather(-1, torch.where(counted, targets, 0)[..., None])[..., 0]  # (B, L)
    return -torch.where(counted, told, 0.0).sum(1) / log(2)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Score all files, and fill gaps when that is asked for."""

    tokenizer: Tokenizer
    context: int

    def __call__(self, decode: Callable[[Any], Any], items: Corpus) -> Predictions:
        def complete(items: Corpus, spans: Sequence[Span]) -> list[bytes]:
            return decode(_Gaps(items, tuple(spans)))

        return Predictions(code_lengths(items, self.tokenizer, self.context, decode), items, complete)


@dataclass(frozen=True, slots=True)
class _Windows:
    config: CompleteConfig
    tokenizer: Tokenizer

    def __call__(self, items: Corpus, train: bool) -> TrainingWindows | ScoringWindows:
        if train:
            return TrainingWindows(items, self.tokenizer, context=self.config.context, infill=self.config.infill)
        return ScoringWindows(items, self.tokenizer, context=self.config.context)


def _refuse_to_assemble(batches: Sequence[Any], items: Corpus) -> Predictions:
    raise AssertionError("code is scored as a stream")


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    config: CompleteConfig
    mixer: str
    vocabulary: int

    def __call__(self, size: Size) -> CausalModel:
        config = self.config
        return causal_model(
            find_mixer(self.mixer),
            size,
            vocabulary=self.vocabulary,
            context=config.context,
            channel=config.channel,
            dropout=config.dropout,
        )
