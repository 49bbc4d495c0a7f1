"""How the shared trainer sees a language model of pairs: the input as prefix, a loss on the output alone.

B = batch, L = tokens of the longest example, V = vocabulary, D = width

A sequence is `input = output end`, padded on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from omniform.errors import ConfigError, DataError
from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size
from omniform_codegen.model import CausalModel, causal_model
from omniform_codegen.recursion.config import RecursionConfig
from omniform_codegen.recursion.examples import THEN, Example, Examples
from omniform_codegen.recursion.functions import FUNCTIONS
from omniform_codegen.recursion.predictions import Predictions
from omniform_codegen.recursion.terms import Tokens
from omniform_kernels.cross_entropy import cross_entropy

__all__ = ["PairDataset", "generate", "output_loss", "recursion_network", "sequence_length", "vocabulary_of"]

Batch = tuple[Tensor, Tensor, Tensor]
"""Ids `(B, L)`, and how many tokens the prefix has and the whole `(B,)`."""

_PAD, _END, _ASK = 0, 1, 2
_SPECIAL = ("<pad>", "<end>", "=")
_IGNORED = -100


def vocabulary_of(function: str) -> Tokens:
    """Return all tokens in order of their ids: special ones, the function's name, constructors."""
    return (*_SPECIAL, THEN, function, *FUNCTIONS[function].datatype.constructors)


def sequence_length(example: Example) -> int:
    """Return the number of tokens of input, output and what marks their ends."""
    return len(example.input) + len(example.output) + 2


def recursion_network(config: RecursionConfig, mixer: str) -> Network:
    """Describe the network of a resolved `config` over a mixer.

    Raises:
        ConfigError: there is no such mixer, it cannot be decoded with a state, or the config was never resolved.
    """
    if config.function is None or config.context is None:
        raise ConfigError("expected a config with function and context; resolve it with data")
    if not find_mixer(mixer).traits.stateful:
        raise ConfigError(f"{mixer} has no state to decode with; choose a stateful mixer (omniform zoo)")
    words = vocabulary_of(config.function)
    return Network(
        build=_Build(mixer, len(words), config.context, config.dropout),
        objective=output_loss,
        dataset=_Pairs(words, config.context),
        decode=_Decode(config.context),
        assemble=_Assemble(words),
        fixed=("stem",),
        batch_size=64,
        learning_rate=2e-3,
    )


class PairDataset(Dataset[Batch]):
    """Examples as ids `(L,)`, and the lengths of prefix and whole.

    Raises:
        DataError: a prefix leaves no room for an output.
    """

    def __init__(self, items: Examples, words: Tokens, context: int) -> None:
        self.items = items
        self.context = context
        self.ids = {word: place for place, word in enumerate(words)}
        for example in items.examples:
            if len(example.input) + 2 > context:
                raise DataError(
                    f"expected inputs of at most {context - 2} tokens, which is what the network was built for, "
                    f"got one of {len(example.input)}"
                )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        example = self.items.examples[index]
        prefix = [*(self.ids[token] for token in example.input), _ASK]
        whole = [*prefix, *(self.ids[token] for token in example.output), _END][: self.context]
        ids = torch.full((self.context,), _PAD)
        ids[: len(whole)] = torch.tensor(whole)
        return ids, torch.tensor(len(prefix)), torch.tensor(len(whole))


def output_loss(model: nn.Module, batch: Batch, *, generator: Generator) -> Losses:
    """Return the mean cross-entropy of output tokens and of the end."""
    assert isinstance(model, CausalModel)
    ids, prefix, whole = batch
    ids = ids[:, : int(whole.max())]
    place = torch.arange(1, ids.shape[1], device=ids.device)
    said = (place >= prefix[:, None]) & (place < whole[:, None])  # (B, L - 1)
    targets = ids[:, 1:].masked_fill(~said, _IGNORED)
    hidden = model.hidden(ids[:, :-1])
    return Losses(cross_entropy(hidden.flatten(0, 1), model.output_weight, targets.flatten(), ignore_index=_IGNORED))


def generate(model: CausalModel, ids: Tensor, prefix: Tensor, most: int) -> Tensor:
    """Return the likeliest tokens behind prefixes, one after another, until all have ended.

    Args:
        ids: `(B, L)`, of which the first `prefix` (B,) tokens are read.
        most: how many tokens at most.

    Returns:
        Ids `(B, at most most)`; what stands behind an end means nothing.
    """
    ids = ids[:, : int(prefix.max())]
    mask = torch.arange(ids.shape[1], device=ids.device) < prefix[:, None]
    logits, state = model.extend(ids.masked_fill(~mask, _PAD), model.init_state(len(ids)), mask)
    last = (prefix - 1)[:, None, None].expand(-1, 1, logits.shape[-1])
    said = [logits.gather(1, last).argmax(-1)]  # (B, 1)
    ended = said[0] == _END
    while len(said) < most and not ended.all():
        logits, state = model.extend(said[-1], state)
        said.append(logits.argmax(-1))
        ended = ended | (said[-1] == _END)
    return torch.cat(said, dim=1)


@dataclass(frozen=True, slots=True)
class _Build:
    """Build the network of a size; a dataclass, for a closure could not be sent to another process."""

    mixer: str
    vocabulary: int
    context: int
    dropout: float

    def __call__(self, size: Size) -> CausalModel:
        mixer = find_mixer(self.mixer)
        return causal_model(
            mixer, size, vocabulary=self.vocabulary, context=self.context, channel="mlp", dropout=self.dropout
        )


@dataclass(frozen=True, slots=True)
class _Pairs:
    words: Tokens
    context: int

    def __call__(self, items: Examples, train: bool) -> PairDataset:
        return PairDataset(items, self.words, self.context)


@dataclass(frozen=True, slots=True)
class _Decode:
    context: int

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return generated ids `(B, n)`."""
        assert isinstance(model, CausalModel)
        ids, prefix, _ = batch
        said = generate(model, ids, prefix, self.context - int(prefix.min()))
        place = torch.arange(said.shape[1], device=said.device)
        return said.masked_fill(place >= self.context - prefix[:, None], _END)  # as if it had been decoded alone


@dataclass(frozen=True, slots=True)
class _Assemble:
    words: Tokens

    def __call__(self, batches: Sequence[Tensor], items: Examples) -> Predictions:
        rows = [row for batch in batches for row in batch.cpu().numpy()]
        return Predictions(tuple(self._said(row) for row in rows), items)

    def _said(self, row: np.ndarray) -> Tokens:
        """Return the words before the end."""
        end = np.flatnonzero(row == _END)
        return tuple(self.words[word] for word in (row[: end[0]] if len(end) else row))
